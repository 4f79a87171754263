-- delete_topic removes a topic with all its subscriptions. Marks stay for an
-- hour, so that consumers which still run learn that theirs was deleted, and
-- don't take it for lost.
--
-- KEYS     1 stream  2 subs, then all other keys of the topic but its schedules
-- ARGV     the subscriptions
-- Returns  -2 if it has other subscriptions, too, or -1 if the topic doesn't exist, or
--          after how many ms the ids of a new topic of this name sort behind those of
--          this one

local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'stream' then
  return redis.error_reply('WRONGTYPE a topic is a stream')
end
local exists, given = kind == 'stream', {}
for _, name in ipairs(ARGV) do given[name] = true end
local subs = redis.call('HGETALL', KEYS[2])
for i = 1, #subs, 2 do
  if not given[subs[i]] then return -2 end
  exists = exists or not cjson.decode(subs[i + 1]).deleted
end
if not exists then return -1 end

local last = 0
if kind == 'stream' then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = tonumber(info[i + 1]:match('^%d+')) end
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local mark = cjson.encode({deleted = now})
for i, key in ipairs(KEYS) do
  if i ~= 2 then redis.call('UNLINK', key) end
end
for _, subscription in ipairs(ARGV) do
  redis.call('HSET', KEYS[2], subscription, mark)
end
redis.call('EXPIRE', KEYS[2], 3600)
return math.max(0, last + 1 - now)
