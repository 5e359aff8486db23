-- A page of a conversation's history, newest first.
--
-- KEYS: conversation, history, participants. ARGV: the exchange before which the page ends, counted from the conversation's
-- first, or ''; how many exchanges
-- Returns the page's exchanges as a JSON array, oldest first; the number of its first one; whether there are older ones, '1'
-- or ''; the participants, as the lengths of their parts and the parts; and exchanges, state, summary, summarised, hand-off, USD of the summaries: as
-- load.lua does, lengths first.
local fields = redis.call('HMGET', KEYS[1], 'exchanges', 'state', 'summary', 'summarised', 'handed_off', 'summary_usd')
local kept = redis.call('LLEN', KEYS[2])
local first_kept = math.max(0, tonumber(fields[1] or '0') - kept) -- older ones are no longer there
local last = ARGV[1] == '' and kept or math.min(kept, math.max(0, tonumber(ARGV[1]) - first_kept))
local first = math.max(0, last - tonumber(ARGV[2]))
local page = last > first and redis.call('LRANGE', KEYS[2], first, last - 1) or {}
local participants = redis.call('ZRANGE', KEYS[3], 0, -1)
local sizes = {}
for index, participant in ipairs(participants) do
  sizes[index] = #participant
end

local parts = {
  '[' .. table.concat(page, ',') .. ']', tostring(first_kept + first), first > 0 and '1' or '',
  table.concat(sizes, ' ') .. '\n' .. table.concat(participants),
  fields[1], fields[2], fields[3], fields[4], fields[5], fields[6],
}
return pack(parts, 10)
