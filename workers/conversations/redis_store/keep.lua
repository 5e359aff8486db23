-- Keeps the state or the summary of a conversation, outside of a turn's end.
--
-- KEYS: conversation, history. ARGV: how long it is kept, in s; then either the state,
--       or a summary, of how many exchanges, and what it cost in USD: only where there is a conversation, and the
--       summary only in the place of one of fewer exchanges
local conversation = KEYS[1]
if not ARGV[3] then
  redis.call('HSET', conversation, 'state', ARGV[2])
  redis.call('EXPIRE', conversation, ARGV[1])
  redis.call('EXPIRE', KEYS[2], ARGV[1])
  return 'OK'
end
if redis.call('EXISTS', conversation) == 0 then
  return 'OK'
end
local found = redis.call('HMGET', conversation, 'summary', 'summarised')
if found[1] == ARGV[2] and found[2] == ARGV[3] then
  return 'OK' -- said again by a worker that heard no answer: it is there, and paid for
end
redis.call('HINCRBYFLOAT', conversation, 'summary_usd', ARGV[4])
if tonumber(found[2] or '0') < tonumber(ARGV[3]) then
  redis.call('HSET', conversation, 'summary', ARGV[2], 'summarised', ARGV[3])
end
return 'OK'
