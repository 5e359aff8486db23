-- Adds what a person of the shop wrote to the history, once.
--
-- KEYS: the message, conversation, history, turns. ARGV: the message's id; the exchange; how long conversations are kept, in
-- s; how many exchanges are kept
-- Returns '1' when it was added, '' when it was there already.
redis.replicate_commands() -- TIME before writes, whatever a Redis before 7 is set to

local conversation, history, turns, keep_s = KEYS[2], KEYS[3], KEYS[4], ARGV[3]
local time = redis.call('TIME')
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
for _, key in ipairs({ conversation, history, turns }) do
  redis.call('EXPIRE', key, keep_s)
end
return '1'
