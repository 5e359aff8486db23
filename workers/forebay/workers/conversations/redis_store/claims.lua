-- Prolongs claims that their owners still hold, or ends them.
--
-- KEYS: claims. ARGV: for how long, in ms, or 0 to end them; then the owner of each
for index, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[index + 1] then
    if ARGV[1] == '0' then
      redis.call('DEL', key)
    else
      redis.call('PEXPIRE', key, ARGV[1])
    end
  end
end
return 'OK'
