-- unschedule removes a field of a hash, if it has not changed.
--
-- KEYS     1 hash
-- ARGV     1 field  2 what it is known to have, then further fields to remove with it
-- Returns  1 if it was removed, or 0

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1], unpack(ARGV, 3))
return 1
