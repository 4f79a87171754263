-- shards_arrive puts a topic into use at the instance that it has moved to.
--
-- KEYS     1 stream  2 schedules  3 index of all schedules  4 the note of what has
--          come, then for each key of the topic two: itself, and what it is called
--          until it has arrived
-- ARGV     1 topic
-- Returns  "arrived", "there" if it had before, or "taken" if another topic, or
--          something else, of this name is there

if redis.call('EXISTS', KEYS[4]) == 0 then return 'there' end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'string' then return 'taken' end
redis.call('DEL', KEYS[1]) -- the mark that it left when it moved away from here
if redis.call('TYPE', KEYS[2]).ok == 'string' then redis.call('DEL', KEYS[2]) end
for i = 5, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i + 1]) == 1 then redis.call('RENAME', KEYS[i + 1], KEYS[i]) end
end
for name in (redis.call('HGET', KEYS[4], 'schedules') or ''):gmatch('%S+') do
  redis.call('HSET', KEYS[3], name, ARGV[1])
end
redis.call('DEL', KEYS[4])
return 'arrived'
