-- Turns that ended: replies, exchange, state, hand-off and spending together, or nothing. See store.py for the keys.
--
-- KEYS: turn, claim, conversation, history; turn and claim of each further turn that ends with it; then the spending of each
--       scope that the cost counts against
-- ARGV: '1' to replace failed replies; the exchange or ''; '' or '=' and the state; '' or '=' and the hand-off; USD; how long
--       conversations are kept, in s; how long spending is, in s; how many exchanges are kept; then of each turn who stores
--       it, a blank, its outcome, a line feed, the reply
-- Returns the lengths of its parts (-1 for what is not there), a line feed, and the parts: the versions of the history before
-- and after with a blank between, where it changed; then for each turn what was there first, -1 where ours is stored.
redis.replicate_commands() -- TIME before writes, whatever a Redis before 7 is set to

local TURNS = 9 -- the first of them in ARGV
local conversation = KEYS[3]
local keep_s, history_most = ARGV[6], tonumber(ARGV[8])
local time = redis.call('TIME')

-- Ends a turn that has no reply yet; returns what was there first and stands, or false.
local function finish(key, claim, turn)
  redis.call('DEL', claim)
  local first = redis.call('GET', key)
  if first then
    local outcome = string.match(first, '^%S+ (%S+)\n')
    if first == turn or ARGV[1] ~= '1' or (outcome ~= 'failed' and outcome ~= 'expired') then
      return first
    end
  end
  redis.call('SET', key, turn, 'EX', keep_s)
  return false
end

-- The same worker says it again, since it heard no answer: it is there, and paid for.
local repeated = redis.call('GET', KEYS[1]) == ARGV[TURNS]

if tonumber(ARGV[5]) ~= 0 and not repeated then
  local hour = math.floor(tonumber(time[1]) / 3600)
  local of_hour, of_day = string.format('h%d', hour), string.format('d%d', math.floor(hour / 24))
  for index = 5 + 2 * (#ARGV - TURNS), #KEYS do
    if redis.call('HEXISTS', KEYS[index], of_hour) == 0 then
      for _, name in ipairs(redis.call('HKEYS', KEYS[index])) do
        local unit = string.sub(name, 1, 1) == 'h' and 1 or 24
        if tonumber(string.sub(name, 2)) * unit < hour - 72 then
          redis.call('HDEL', KEYS[index], name)
        end
      end
    end
    redis.call('HINCRBYFLOAT', KEYS[index], of_hour, ARGV[5])
    redis.call('HINCRBYFLOAT', KEYS[index], of_day, ARGV[5])
    redis.call('EXPIRE', KEYS[index], ARGV[7])
  end
end

local parts = { false, finish(KEYS[1], KEYS[2], ARGV[TURNS]) }
for other = 1, #ARGV - TURNS do
  parts[2 + other] = finish(KEYS[3 + 2 * other], KEYS[4 + 2 * other], ARGV[TURNS + other])
end

if not parts[2] then
  if ARGV[2] ~= '' then
    local before = redis.call('HGET', conversation, 'version') or ''
    local exchanges = redis.call('HINCRBY', conversation, 'exchanges', 1)
    -- The time keeps a count that comes again, after Redis lost its last writes, from being the same version.
    local after = string.format('%d.%s.%s', exchanges, time[1], time[2])
    redis.call('HSET', conversation, 'version', after)
    redis.call('RPUSH', KEYS[4], ARGV[2])
    redis.call('LTRIM', KEYS[4], -history_most, -1)
    parts[1] = before .. ' ' .. after
  end
  if ARGV[3] ~= '' then
    redis.call('HSET', conversation, 'state', string.sub(ARGV[3], 2))
  end
  if ARGV[4] ~= '' then
    redis.call('HSET', conversation, 'handed_off', string.sub(ARGV[4], 2))
  end
  if ARGV[2] ~= '' or ARGV[3] ~= '' or ARGV[4] ~= '' then
    redis.call('EXPIRE', conversation, keep_s)
    redis.call('EXPIRE', KEYS[4], keep_s)
  end
end

local lengths, found = {}, {}
for index = 1, #ARGV - TURNS + 2 do
  local part = parts[index]
  lengths[index] = part and #part or -1
  if part then
    found[#found + 1] = part
  end
end
return table.concat(lengths, ' ') .. '\n' .. table.concat(found)
