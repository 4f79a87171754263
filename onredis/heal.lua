-- heal makes the consumer group of a subscription again after it was lost, by
-- DEL, FLUSHALL or a failover, at the last position known: it delivers too much
-- rather than too little.
--
-- KEYS     1 stream  2 subs
-- ARGV     1 subscription  2 "1" if it is known to have existed  3 lease in ms if
--          nothing else is known
-- Returns  "healed", "there" if it was not lost, "deleted" or "unknown"

local config = redis.call('HGET', KEYS[2], ARGV[1])
config = config and cjson.decode(config)
if config and config.deleted then return 'deleted' end
if not config and ARGV[2] ~= '1' then return 'unknown' end

local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], config and (config.pos or config.from) or '0-0', 'MKSTREAM')
if made.err then
  if made.err:find('^BUSYGROUP') then return 'there' end
  return made
end
if not config then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[2], ARGV[1], cjson.encode({
    from = '0-0', lease_ms = tonumber(ARGV[3]), created = time[1] * 1000 + math.floor(time[2] / 1000),
  }))
end
return 'healed'
