-- Keeps the state of a conversation before its turn has ended, if the turn's claim is still its owner's.
--
-- KEYS: claim, conversation, history. ARGV: owner; how long a conversation is kept, in s; the state
-- Returns '1' when it is kept, '' when the claim is another's or over.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return ''
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('HSET', KEYS[2], 'indexed', '1') -- all of its turns are in `turns`
end
redis.call('HSET', KEYS[2], 'state', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[3], ARGV[2])
return '1'
