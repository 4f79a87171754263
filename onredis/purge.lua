-- purge removes all messages of a topic, stored and delayed. Its subscriptions go
-- on behind them, and keep their dead letters.
--
-- KEYS     1 stream  2 subs  3 delayed  4 delayed:fields  5 due, then waiting,
--          leased and retry of each subscription
-- ARGV     the subscriptions
-- Returns  how many were removed, -1 if the topic doesn't exist, or -2 if it has
--          other subscriptions, too

local there = redis.call('EXISTS', KEYS[1]) == 1
local removed = redis.call('ZCARD', KEYS[3])
if not there and removed == 0 then return -1 end

local given = {}
for _, name in ipairs(ARGV) do given[name] = true end
local groups = {}
if there then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    groups[#groups + 1] = group[2]
    if not given[group[2]] then return -2 end
  end
end
local subs = redis.call('HGETALL', KEYS[2])
for i = 1, #subs, 2 do
  if not given[subs[i]] then return -2 end
end

local last = '0-0'
if there then
  removed = removed + redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end
for i = 3, #KEYS do redis.call('UNLINK', KEYS[i]) end -- freed in the background

-- As in seek.
for _, name in ipairs(groups) do
  local consumers = redis.call('XINFO', 'CONSUMERS', KEYS[1], name)
  redis.call('XGROUP', 'DESTROY', KEYS[1], name)
  redis.call('XGROUP', 'CREATE', KEYS[1], name, last)
  for _, consumer in ipairs(consumers) do
    redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], name, consumer[2])
  end
end
for i = 1, #subs, 2 do
  local config = cjson.decode(subs[i + 1])
  if not config.deleted then
    config.pos = last
    redis.call('HSET', KEYS[2], subs[i], cjson.encode(config))
  end
end
return removed
