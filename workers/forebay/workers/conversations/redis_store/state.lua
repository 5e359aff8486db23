-- Keeps the state of a conversation before its turn has ended, if the turn's claim is still its owner's.
--
-- KEYS: claim, conversation, history. ARGV: owner; how long a conversation is kept, in s; the state;
-- the erasure that is known, or '0'
-- Returns '1' when it is kept, '' when the claim is another's or over, or the conversation was erased.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return ''
end
local erased_at = redis.call('HGET', KEYS[2], 'erased_at')
if erased_at and tonumber(erased_at) ~= tonumber(ARGV[4]) then
  return ''
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('HSET', KEYS[2], 'indexed', '1') -- all of its turns are in `turns`
end
redis.call('HSET', KEYS[2], 'state', ARGV[3])
redis.call('EXPIRE', KEYS[2], erased_at and ARGV[2] + 7 * 86400 or ARGV[2]) -- `ERASED_S`
redis.call('EXPIRE', KEYS[3], ARGV[2])
return '1'
