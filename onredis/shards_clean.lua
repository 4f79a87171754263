-- shards_clean removes what is left of a topic that has moved and arrived. The mark
-- stays.
--
-- KEYS     1 stream  2 index of all schedules  3 the note of what was on its way, then
--          the keys as they are called on their way
-- ARGV     1 token of the move  2 topic
-- Returns  1, or 0 if that is not the last move of the topic

if redis.call('TYPE', KEYS[1]).ok ~= 'string' then return 0 end
local mark = cjson.decode(redis.call('GET', KEYS[1]))
if mark.token ~= ARGV[1] or mark.state ~= 'moved' then return 0 end
for name in (redis.call('HGET', KEYS[3], 'schedules') or ''):gmatch('%S+') do
  if redis.call('HGET', KEYS[2], name) == ARGV[2] then redis.call('HDEL', KEYS[2], name) end
end
for i = 3, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1
