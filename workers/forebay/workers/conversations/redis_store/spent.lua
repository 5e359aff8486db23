-- What scopes have spent, as this shard counted it.
--
-- KEYS: the spending of each scope. Returns the hour, counted from the epoch, then for each the USD of the hour and of the
-- day, with blanks between.
local hour = math.floor(tonumber(redis.call('TIME')[1]) / 3600)
local found = { string.format('%d', hour) }
for index = 1, #KEYS do
  local usd = redis.call('HMGET', KEYS[index], string.format('h%d', hour), string.format('d%d', math.floor(hour / 24)))
  found[#found + 1] = usd[1] or '0'
  found[#found + 1] = usd[2] or '0'
end
return table.concat(found, ' ')
