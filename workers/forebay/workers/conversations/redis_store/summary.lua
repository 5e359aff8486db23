-- Keeps a summary of a conversation, outside of a turn's end: only where there is a conversation, and only in the place of a
-- summary of fewer exchanges; nothing where it was erased meanwhile.
--
-- KEYS: conversation. ARGV: the summary, of how many exchanges, what it cost in USD, the erasure that is known or '0', and who
-- says it: the same whenever the same is said
local conversation = KEYS[1]
if redis.call('EXISTS', conversation) == 0 then
  return 'OK'
end
local found = redis.call('HMGET', conversation, 'said_by', 'summarised', 'erased_at')
if found[3] and tonumber(found[3]) ~= tonumber(ARGV[4]) then
  return 'OK'
end
if found[1] == ARGV[5] then
  return 'OK' -- said again by a worker that heard no answer: it is there, and paid for
end
redis.call('HINCRBYFLOAT', conversation, 'summary_usd', ARGV[3])
if tonumber(found[2] or '0') < tonumber(ARGV[2]) then
  redis.call('HSET', conversation, 'summary', ARGV[1], 'summarised', ARGV[2], 'said_by', ARGV[5])
end
return 'OK'
