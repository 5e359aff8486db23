-- What is known when a turn begins, and its claim. Atomic; one round trip. See store.py for what lies under which key.
--
-- KEYS: turn, claim, conversation, history, then the spending of each scope that is asked for
-- ARGV: how many exchanges; the version of the history that the worker holds, or ''; '' or '=' and the owner who claims;
--       how long a claim lasts, in ms
-- Returns the lengths of its parts (-1 for what is not there), a line feed, and the parts: turn, ms for which another holds
-- it, version, history ('' when it is the worker's own), exchanges, state, summary, summarised, hand-off, USD of the
-- summaries, when it was erased, and what was spent as in spent.lua.
redis.replicate_commands() -- TIME before writes, whatever a Redis before 7 is set to

local turn = redis.call('GET', KEYS[1])
local outcome = turn and string.match(turn, '^%S+ (%S+)\n')

local others_ms = 0
if ARGV[3] ~= '' and (not turn or outcome == 'failed' or outcome == 'expired') then
  local owner = string.sub(ARGV[3], 2)
  local holder = redis.call('GET', KEYS[2])
  if holder and holder ~= owner then
    others_ms = math.max(1, redis.call('PTTL', KEYS[2]))
  else
    redis.call('SET', KEYS[2], owner, 'PX', ARGV[4])
  end
end

local fields = redis.call('HMGET', KEYS[3], 'version', 'exchanges', 'state', 'summary', 'summarised', 'handed_off',
  'summary_usd', 'erased_at')
local version, history = fields[1] or '', ''
if version == '' or version ~= ARGV[2] then
  local most = tonumber(ARGV[1])
  history = most > 0 and redis.call('LRANGE', KEYS[4], -most, -1) or {}
  history = '[' .. table.concat(history, ',') .. ']'
end

local spent
if KEYS[5] then -- as in spent.lua
  local hour = math.floor(tonumber(redis.call('TIME')[1]) / 3600)
  spent = { string.format('%d', hour) }
  for index = 5, #KEYS do
    local usd = redis.call('HMGET', KEYS[index], string.format('h%d', hour), string.format('d%d', math.floor(hour / 24)))
    spent[#spent + 1] = usd[1] or '0'
    spent[#spent + 1] = usd[2] or '0'
  end
  spent = table.concat(spent, ' ')
end

local parts = {
  turn, others_ms, version, history, fields[2], fields[3], fields[4], fields[5], fields[6], fields[7],
  fields[8], spent,
}
return pack(parts, 12)
