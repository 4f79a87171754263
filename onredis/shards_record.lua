-- shards_record replaces a text, if it is as it is known to be.
--
-- KEYS     1 record of the set, or the lock of who changes it
-- ARGV     1 what it is known to be, empty for not there  2 what it is to be, empty for
--          not there  3 after what time it ends, in ms, 0 for never
-- Returns  {1 if it was replaced, or 0, what it is now, empty if it is not there}

local now = redis.call('GET', KEYS[1]) or ''
if now ~= ARGV[1] then return {0, now} end
redis.call('PERSIST', KEYS[1]) -- lets what follows pass when memory is full, as in shards_mark
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
elseif ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return {1, ARGV[2]}
