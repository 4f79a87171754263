-- leave forgets a consumer that holds nothing.
--
-- KEYS     1 stream  2 leased  3 retry
-- ARGV     1 subscription  2 consumer
-- Returns  1 if it was forgotten, or 0

if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local found
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  found = found or group[2] == ARGV[1]
end
if not found or #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
-- What it holds of retries keeps its owner, so it needn't be looked for here.
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
