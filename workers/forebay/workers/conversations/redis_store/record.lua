-- Turns that ended: replies, exchange, state, hand-off and spending together, or nothing. See store.py for the keys.
--
-- KEYS: turn, claim, conversation, history, turns, participants, the user's conversations; turn and claim of each further
--       turn that ends with it; then the spending of each scope that the cost counts against
-- ARGV: '1' to replace failed replies; the exchange or ''; '' or '=' and the state; '' or '=' and the hand-off; USD; how long
--       conversations are kept, in s; how long spending is, in s; how many exchanges are kept; who spoke, or ''; the
--       conversation as the user's list has it, or ''; the erasure that is known, or '0'; then of each turn its id, and who
--       stores it, a blank, its outcome, a line feed, the reply
-- Returns the lengths of its parts (-1 for what is not there), a line feed, and the parts: the versions of the history before
-- and after with a blank between, where it changed; then for each turn what was there first, -1 where ours is stored. Or '!'
-- and when the conversation was erased, where that is not known.
redis.replicate_commands() -- TIME before writes, whatever a Redis before 7 is set to

local conversation, history, turns, participants, user = KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local keep_s, history_most = tonumber(ARGV[6]), tonumber(ARGV[8])
local time = redis.call('TIME')
local seconds = tonumber(time[1])
local others = (#ARGV - 13) / 2
local known = redis.call('HMGET', conversation, 'version', 'erased_at', 'indexed')
local before, erased_at = known[1] or '', known[2]
if erased_at and tonumber(erased_at) ~= tonumber(ARGV[11]) then
  return '!' .. erased_at
end

-- Whether the same worker says it again, since it heard no answer: who stores it, what, and its outcome are the same.
local function again(first, turn)
  return string.match(first, '^[^\n]*') == string.match(turn, '^[^\n]*')
end

-- Ends a turn that has no reply yet; returns what was there first and stands, or false.
local function finish(key, claim, turn_id, turn)
  redis.call('DEL', claim)
  local first = redis.call('GET', key)
  if first then
    local outcome = string.match(first, '^%S+ (%S+)\n')
    if again(first, turn) or ARGV[1] ~= '1' or (outcome ~= 'failed' and outcome ~= 'expired') then
      return first
    end
  end
  redis.call('SET', key, turn, 'EX', keep_s)
  redis.call('ZADD', turns, seconds, 't' .. turn_id)
  return false
end

local function spend()
  local hour = math.floor(seconds / 3600)
  local of_hour, of_day = string.format('h%d', hour), string.format('d%d', math.floor(hour / 24))
  for index = 8 + 2 * others, #KEYS do
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

-- What the first turn changed in its conversation; returns the versions of the history.
local function keep()
  if ARGV[2] == '' and ARGV[3] == '' and ARGV[4] == '' then
    return false
  end
  local fields, versions = {}, false
  if not known[3] and before == '' and redis.call('EXISTS', conversation) == 0 then
    fields = { 'indexed', '1' } -- all of its turns are in `turns`
  end
  if ARGV[2] ~= '' then
    local exchanges = redis.call('HINCRBY', conversation, 'exchanges', 1)
    -- The time keeps a count that comes again, after Redis lost its last writes, from being the same version.
    local after = string.format('%d.%s.%s', exchanges, time[1], time[2])
    fields[#fields + 1], fields[#fields + 2] = 'version', after
    redis.call('RPUSH', history, ARGV[2])
    redis.call('LTRIM', history, -history_most, -1)
    versions = before .. ' ' .. after
  end
  if ARGV[3] ~= '' then
    fields[#fields + 1], fields[#fields + 2] = 'state', string.sub(ARGV[3], 2)
  end
  if ARGV[4] ~= '' then
    fields[#fields + 1], fields[#fields + 2] = 'handed_off', string.sub(ARGV[4], 2)
  end
  redis.call('HSET', conversation, unpack(fields))
  redis.call('EXPIRE', conversation, erased_at and keep_s + 7 * 86400 or keep_s) -- `ERASED_S`
  redis.call('EXPIRE', history, keep_s)
  return versions
end

-- Notes who spoke. The lists outlive the conversation, so that it is in them as long as it is there.
local function take_part()
  local longer_s = keep_s + 2 * 86400
  if redis.call('ZADD', participants, 'NX', string.format('%s.%06d', time[1], time[2]), ARGV[9]) == 0
    and redis.call('TTL', participants) > longer_s - 86400 then
    return
  end
  redis.call('EXPIRE', participants, longer_s)
  if ARGV[10] ~= '' then
    redis.call('ZADD', user, seconds, ARGV[10])
    redis.call('ZREMRANGEBYSCORE', user, '-inf', seconds - longer_s)
    redis.call('EXPIRE', user, longer_s)
  end
end

-- What is said again is there, and paid for.
if tonumber(ARGV[5]) ~= 0 and not again(redis.call('GET', KEYS[1]) or '', ARGV[13]) then
  spend()
end
local parts = { false, finish(KEYS[1], KEYS[2], ARGV[12], ARGV[13]) }
for other = 1, others do
  parts[2 + other] = finish(KEYS[6 + 2 * other], KEYS[7 + 2 * other], ARGV[12 + 2 * other], ARGV[13 + 2 * other])
end
redis.call('ZREMRANGEBYSCORE', turns, '-inf', seconds - keep_s)
redis.call('EXPIRE', turns, keep_s)
if not parts[2] then
  parts[1] = keep()
end
if ARGV[9] ~= '' then
  take_part()
end

return pack(parts, 2 + others)
