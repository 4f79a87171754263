-- heal makes the consumer group of a subscription again after it was lost, by
-- DEL, FLUSHALL or a failover, at the last position known: it delivers too much
-- rather than too little.
--
-- KEYS     1 stream  2 subs
-- ARGV     1 subscription  2 "1" if it is known to have existed  3 lease in ms if
--          nothing else is known  4 "1" if it is known to be that of a queue
-- Returns  "healed", "there" if it was not lost, "deleted" or "unknown"

redis.call('XLEN', KEYS[1]) -- fails if the topic has moved to another instance
local config = redis.call('HGET', KEYS[2], ARGV[1])
config = config and cjson.decode(config)
if config and config.deleted then return 'deleted' end
if not config and ARGV[2] ~= '1' then return 'unknown' end

redis.call('HDEL', KEYS[2], '') -- as in take: who goes on makes room when memory is full
local last = '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end

-- A position ahead of the stream is of one that is no more: what comes now may
-- never get so far.
local from = config and (config.pos or config.from) or '0-0'
if later(from, last) then from = '0-0' end
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], from, 'MKSTREAM')
if made.err then
  if made.err:find('^BUSYGROUP') then return 'there' end
  return made
end
if not config then
  local time = redis.call('TIME')
  config = {from = from, lease_ms = tonumber(ARGV[3]), created = time[1] * 1000 + math.floor(time[2] / 1000)}
  if ARGV[4] == '1' then config.queue = true end
end
config.pos = from
redis.call('HSET', KEYS[2], ARGV[1], cjson.encode(config))
redis.call('PERSIST', KEYS[2]) -- what DeleteTopic left there ends after an hour
return 'healed'
