-- shards_fence takes a topic out of use, so that it can be copied to another instance:
-- all its keys get other names, and a mark in place of the stream has every command
-- and script that touches the topic fail with WRONGTYPE.
--
-- KEYS     1 stream  2 subs  3 schedules  4 index of all schedules  5 the note of what
--          is on its way  6 record of the set, then for each key of the topic two:
--          itself, and what it is called while it is on its way
-- ARGV     1 token of the move  2 how long it may take, in ms  3 the instance to go to
--          4 generation  5 topic  6 its subscriptions as JSON, then these again
-- Returns  {"fenced"}, {"nothing"} if there is nothing, {"again"} if it has other
--          subscriptions, too, {"foreign"} if it is no topic, {"stale"} if there is a
--          newer generation, or {"marked", the mark}

-- A mover that was stopped for long must not go on by a set that is no more.
local record = redis.call('GET', KEYS[6])
if record and cjson.decode(record).generation > tonumber(ARGV[4]) then return {'stale'} end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'string' then return {'marked', redis.call('GET', KEYS[1])} end
if kind ~= 'none' and kind ~= 'stream' then return {'foreign'} end

local given = {}
for i = 7, #ARGV do given[ARGV[i]] = true end
if kind == 'stream' then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if not given[group[2]] then return {'again'} end
  end
end
for _, name in ipairs(redis.call('HKEYS', KEYS[2])) do
  if not given[name] then return {'again'} end
end

-- Of the schedules those count that the index points at.
local schedules = {}
if redis.call('TYPE', KEYS[3]).ok == 'hash' then
  for _, name in ipairs(redis.call('HKEYS', KEYS[3])) do
    if redis.call('HGET', KEYS[4], name) == ARGV[5] then schedules[#schedules + 1] = name end
  end
else
  redis.call('DEL', KEYS[3]) -- a mark that was left
end

local moved = 0
for i = 7, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('RENAME', KEYS[i], KEYS[i + 1])
    moved = moved + 1
  end
end
if moved == 0 then return {'nothing'} end
redis.call('HSET', KEYS[5], 'token', ARGV[1], 'subs', ARGV[6], 'schedules', table.concat(schedules, ' '))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local mark = cjson.encode({
  state = 'moving', to = ARGV[3], token = ARGV[1], generation = tonumber(ARGV[4]), ends = now + ARGV[2],
})
redis.call('SET', KEYS[1], mark)
redis.call('SET', KEYS[3], mark)
return {'fenced'}
