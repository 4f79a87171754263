-- unserve takes a process off the list of those who serve.
--
-- KEYS     1 repliers
-- ARGV     1 inbox of the process  2 its score as it was seen, so that one who has
--          renewed it since stays; empty for whatever it is
-- Returns  1 if it was there, or 0

if ARGV[2] ~= '' and redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('ZREM', KEYS[1], ARGV[1])
