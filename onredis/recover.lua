-- recover leases again to a consumer what it holds already, the oldest first.
-- XREADGROUP would do as much, but not write down that it did.
--
-- KEYS     1 stream  2 lost
-- ARGV     1 subscription  2 consumer  3 how many
-- Returns  {{id, attempt, {field, value, …}}, …}

local taken = {}
for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[3], ARGV[2])) do
  local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, pending[1])[1]
  if entry then
    taken[#taken + 1] = {pending[1], pending[4] + 1, entry[2]}
  else
    redis.call('HINCRBY', KEYS[2], ARGV[1], 1) -- its message is gone
  end
end
return taken
