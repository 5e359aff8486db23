-- Erases a conversation, but for when that was; or only counts what there is.
--
-- KEYS: conversation, history, turns, participants
-- ARGV: '1' to count only; for how long it is remembered, in s; what the names of the keys of its turns, its claims and its
--       persons' messages begin with; what those of users' conversations do; the conversation's id
-- Returns, as load.lua does, lengths first: the numbers of replies, exchanges, persons' messages, summaries, claims and
-- participants, with blanks between; the state; when it was erased; '1' when turns may be there that are not in `turns`.
redis.replicate_commands() -- TIME before writes, whatever a Redis before 7 is set to

local conversation, history, turns, participants = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local counts_only = ARGV[1] == '1'
local count = counts_only and 'EXISTS' or 'DEL'
local fields = redis.call('HMGET', conversation, 'state', 'summary', 'indexed')
local unlisted = redis.call('EXISTS', conversation) == 1 and not fields[3]

local replies, messages, claims = 0, 0, 0
for _, member in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
  local id = string.sub(member, 2)
  if string.sub(member, 1, 1) == 'm' then
    messages = messages + redis.call(count, ARGV[5] .. id)
  else
    replies = replies + redis.call(count, ARGV[3] .. id)
    claims = claims + redis.call(count, ARGV[4] .. id)
  end
end
local exchanges = redis.call('LLEN', history)
local people = redis.call('ZRANGE', participants, 0, -1)

local erased_at = ''
if not counts_only then
  for _, member in ipairs(people) do
    -- As `answers.participant` wrote it: LENGTH:USER:TENANT
    local length, rest = string.match(member, '^(%d+):(.*)$')
    local user, tenant = string.sub(rest, 1, tonumber(length)), string.sub(rest, tonumber(length) + 2)
    redis.call('ZREM', ARGV[6] .. user, #tenant .. ':' .. tenant .. ':' .. ARGV[7])
  end
  redis.call('DEL', conversation, history, turns, participants)
  erased_at = string.format('%s.%06d', time[1], time[2])
  redis.call('HSET', conversation, 'indexed', '1', 'erased_at', erased_at)
  redis.call('EXPIRE', conversation, ARGV[2])
end

local numbers = { replies, math.max(0, exchanges - messages), messages, fields[2] and 1 or 0, claims, #people }
local parts = { table.concat(numbers, ' '), fields[1], erased_at, unlisted and '1' or '' }
return pack(parts, 4)
