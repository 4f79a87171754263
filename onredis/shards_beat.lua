-- shards_beat notes that a process is there, and which generation of the set of
-- instances it goes by.
--
-- KEYS     1 record of the set  2 sorted set of the processes
-- ARGV     1 the process, a space and the generation, empty to note nothing  2 the same
--          as it was noted before  3 for how many ms this is good
-- Returns  {the record, empty if it is not there, the processes that are there}

redis.call('ZREM', KEYS[2], '') -- lets what follows pass when memory is full, as in shards_mark
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', KEYS[2], gone)
end
if ARGV[2] ~= ARGV[1] and ARGV[2] ~= '' then redis.call('ZREM', KEYS[2], ARGV[2]) end
if ARGV[1] ~= '' then
  redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
return {redis.call('GET', KEYS[1]) or '', redis.call('ZRANGE', KEYS[2], 0, 9999)}
