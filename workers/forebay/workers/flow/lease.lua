-- One worker's word about one key's quota, and what it may use next. Atomic; a few slots are read and written.
--
-- KEYS[1]: hash of the window: "state", and for each slot of time with any use its number: {resource: amount}
-- KEYS[2]: sorted set of the workers by when they were heard last
-- ARGV[1]: the request as JSON, see lease.py. Returns the reply as JSON.
redis.replicate_commands() -- TIME before writes, in Redis before 7

local window, workers = KEYS[1], KEYS[2]
local ask = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local slot = math.floor(now / ask.slot_s)
local oldest = slot - ask.slots
local AHEAD = 8 -- slots by which a worker's idea of our clock may be ahead
local YOUNG_S = 2 -- how long after a loss of state workers have time to tell what they used
local WAITER_S = 0.6 -- a waiter that asks no more is forgotten
local GONE_S = 3 -- a worker not heard of

local function field(number)
  return string.format('%d', number)
end

local function read(name)
  local found = redis.call('HGET', window, name)
  return found and cjson.decode(found)
end

local state = read('state') or { epoch = ask.new_epoch, since = now, young_until = 0, used = {}, told = {}, first = oldest }
local used, told = state.used, state.told

-- What has left the window.
for number = state.first, math.min(oldest - 1, state.first + ask.slots + AHEAD) do
  local amounts = read(field(number))
  if amounts then
    for name, amount in pairs(amounts) do
      used[name] = (used[name] or 0) - amount
    end
    redis.call('HDEL', window, field(number))
  end
end
state.first = math.max(oldest, state.first)

local function add(number, changes)
  if number < oldest then
    return
  end
  local amounts = read(field(number)) or {}
  for name, change in pairs(changes) do
    local before = amounts[name] or 0
    amounts[name] = math.max(0, before + change)
    used[name] = (used[name] or 0) + amounts[name] - before
  end
  redis.call('HSET', window, field(number), cjson.encode(amounts))
end

-- A worker that knew another state: that one was lost. It tells all that it used, and so do the others, before any gets more.
local lost = ask.epoch ~= '' and ask.epoch ~= state.epoch
if lost then
  state.young_until = math.max(state.young_until, state.since + YOUNG_S)
else
  for number, changes in pairs(ask.moves) do
    add(math.min(tonumber(number), slot + AHEAD), changes)
  end
end
for name, limit in pairs(ask.told) do
  told[name] = ask.news[name] or told[name] or limit
end

redis.call('ZREMRANGEBYSCORE', workers, '-inf', now - GONE_S)
if ask.leaves then
  redis.call('ZREM', workers, ask.worker)
else
  redis.call('ZADD', workers, now, ask.worker)
end
local fleet = math.max(1, redis.call('ZCARD', workers))

local waiter = state.waiter
if waiter and (waiter.worker == ask.worker or waiter.ends < now) then
  waiter = nil
end
local limits, room = {}, {}
for _, known in ipairs({ ask.own, told }) do
  for name, limit in pairs(known) do
    limits[name] = math.min(limit, limits[name] or limit)
  end
end
for name, limit in pairs(limits) do
  room[name] = limit - (used[name] or 0) - (waiter and waiter.need[name] or 0)
end

-- Seconds until so much more will have left the window.
local function wait_for(name, lacking)
  for number = oldest, slot + AHEAD do
    local amounts = read(field(number))
    lacking = lacking - (amounts and amounts[name] or 0)
    if lacking <= 0 then
      return (number + ask.slots + 1) * ask.slot_s - now
    end
  end
  return ask.slots * ask.slot_s
end

local wait = math.max(lost and 0.001 or 0, state.young_until - now)
local need = {}
for name, amount in pairs(ask.need) do
  if limits[name] then
    need[name] = math.min(amount, limits[name])
    local lacking = need[name] - room[name]
    if lacking > 0.000001 then
      wait = math.max(wait, wait_for(name, lacking))
    end
  end
end

local granted = {}
if wait > 0 then
  if next(need) and not waiter then
    waiter = { worker = ask.worker, ends = now + WAITER_S, need = need }
  end
else
  for name, amount in pairs(ask.want) do
    if limits[name] then
      granted[name] = math.max(need[name] or 0, math.min(amount, room[name] / fleet))
    end
  end
  add(slot, granted)
end
state.waiter = waiter

redis.call('HSET', window, 'state', cjson.encode(state))
redis.call('PEXPIRE', window, ask.ttl_ms)
redis.call('PEXPIRE', workers, ask.ttl_ms)
return cjson.encode({
  epoch = state.epoch,
  young = state.young_until > now,
  now = now,
  slot = slot,
  granted = granted,
  wait = wait,
  used = used,
  told = told,
  workers = fleet,
})
