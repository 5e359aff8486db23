-- A turn that ended: reply, exchange, state, hand-off and spending together, or nothing. See redis.py for the keys.
--
-- KEYS: turn, claim, conversation, history, then the spending of each scope that its cost counts against
-- ARGV: the turn (who stores it, a blank, its outcome, a line feed, the reply); '1' to replace a failed reply; the exchange
--       or ''; '' or '=' and the state; '' or '=' and the hand-off; USD; how long conversations are kept, in s; how long
--       spending is, in s; how many exchanges are kept
-- Returns the turn that was there first, or '+' and the versions of the history before and after, with a blank between;
-- '+' alone where the history did not change.
redis.replicate_commands() -- TIME before writes, whatever a Redis before 7 is set to

local turn, conversation = ARGV[1], KEYS[3]
local keep_s, history_most = ARGV[7], tonumber(ARGV[9])
local time = redis.call('TIME')

local first = redis.call('GET', KEYS[1])
if first == turn then
  return first -- the same worker says it again, since it heard no answer: it is there, and paid for
end

if tonumber(ARGV[6]) ~= 0 then
  local hour = math.floor(tonumber(time[1]) / 3600)
  local of_hour, of_day = string.format('h%d', hour), string.format('d%d', math.floor(hour / 24))
  for index = 5, #KEYS do
    if redis.call('HEXISTS', KEYS[index], of_hour) == 0 then
      for _, name in ipairs(redis.call('HKEYS', KEYS[index])) do
        local unit = string.sub(name, 1, 1) == 'h' and 1 or 24
        if tonumber(string.sub(name, 2)) * unit < hour - 72 then
          redis.call('HDEL', KEYS[index], name)
        end
      end
    end
    redis.call('HINCRBYFLOAT', KEYS[index], of_hour, ARGV[6])
    redis.call('HINCRBYFLOAT', KEYS[index], of_day, ARGV[6])
    redis.call('EXPIRE', KEYS[index], ARGV[8])
  end
end
redis.call('DEL', KEYS[2])

if first then
  local outcome = string.match(first, '^%S+ (%S+)\n')
  if ARGV[2] ~= '1' or (outcome ~= 'failed' and outcome ~= 'expired') then
    return first
  end
end
redis.call('SET', KEYS[1], turn, 'EX', keep_s)

local versions = ''
if ARGV[3] ~= '' then
  local before = redis.call('HGET', conversation, 'version') or ''
  local exchanges = redis.call('HINCRBY', conversation, 'exchanges', 1)
  -- The time keeps a count that comes again, after Redis lost its last writes, from being the same version.
  local after = string.format('%d.%s.%s', exchanges, time[1], time[2])
  redis.call('HSET', conversation, 'version', after)
  redis.call('RPUSH', KEYS[4], ARGV[3])
  redis.call('LTRIM', KEYS[4], -history_most, -1)
  versions = before .. ' ' .. after
end
if ARGV[4] ~= '' then
  redis.call('HSET', conversation, 'state', string.sub(ARGV[4], 2))
end
if ARGV[5] ~= '' then
  redis.call('HSET', conversation, 'handed_off', string.sub(ARGV[5], 2))
end
if ARGV[3] ~= '' or ARGV[4] ~= '' or ARGV[5] ~= '' then
  redis.call('EXPIRE', conversation, keep_s)
  redis.call('EXPIRE', KEYS[4], keep_s)
end
return '+' .. versions
