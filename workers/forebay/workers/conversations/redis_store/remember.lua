-- Adds what a person of the shop wrote to the history, once.
--
-- KEYS: the message, conversation, history, turns. ARGV: the message's id; the exchange; how long conversations are kept, in
-- s; how many exchanges are kept; when it was written
-- Returns '1' when it was added, '' when it was there already, or is older than an erasure.
redis.replicate_commands() -- TIME before writes, whatever a Redis before 7 is set to

local conversation, history, turns, keep_s = KEYS[2], KEYS[3], KEYS[4], ARGV[3]
local time = redis.call('TIME')
local erased_at = redis.call('HGET', conversation, 'erased_at')
if erased_at and tonumber(ARGV[5]) < tonumber(erased_at) then
  return ''
end
if not redis.call('SET', KEYS[1], '', 'EX', keep_s, 'NX') then
  return ''
end
if redis.call('EXISTS', conversation) == 0 then
  redis.call('HSET', conversation, 'indexed', '1') -- all of its turns are in `turns`
end
local exchanges = redis.call('HINCRBY', conversation, 'exchanges', 1)
redis.call('HSET', conversation, 'version', string.format('%d.%s.%s', exchanges, time[1], time[2]))
redis.call('RPUSH', history, ARGV[2])
redis.call('LTRIM', history, -tonumber(ARGV[4]), -1)
redis.call('ZADD', turns, time[1], 'm' .. ARGV[1])
redis.call('EXPIRE', conversation, erased_at and keep_s + 7 * 86400 or keep_s) -- `ERASED_S`
redis.call('EXPIRE', history, keep_s)
redis.call('EXPIRE', turns, keep_s)
return '1'
