-- shards_unmark removes the mark of a topic that has moved away, or has it end by
-- itself.
--
-- KEYS     1 stream  2 schedules
-- ARGV     1 the mark as it was seen  2 after what time it ends, in ms, or 0 for now
-- Returns  1, or 0 if it has changed

if redis.call('TYPE', KEYS[1]).ok ~= 'string' or redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 1, 2 do
  if redis.call('TYPE', KEYS[i]).ok == 'string' then
    if ARGV[2] == '0' then redis.call('DEL', KEYS[i]) else redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
  end
end
return 1
