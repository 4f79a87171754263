-- peek_stream looks at messages never delivered, or at dead letters.
--
-- KEYS     1 stream  2 the stream to look at: 1 or dead  3 buried
-- ARGV     1 subscription  2 state (ready, dead)  3 the id of the message seen last,
--          as Redis has it for ready and as beck has it for dead, empty for none
--          4 for dead, the id of its letter if known  5 how many  6 about how many bytes
-- Returns  {1 if there are others, 1 if there are letters that buried does not tell
--           of, {{id of the entry, {field, value, …}}, …}}
--
-- It fails with NOGROUP if the group does not exist.

redis.call('XPENDING', KEYS[1], ARGV[1])
local from = ''
if ARGV[2] == 'ready' then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if group[2] == ARGV[1] then from = group[8] end
  end
  if ARGV[3] ~= '' and later(ARGV[3], from) then from = ARGV[3] end
else
  from = ARGV[4]
  if from == '' and ARGV[3] ~= '' then from = redis.call('HGET', KEYS[3], ARGV[3]) or '' end
end

-- whole unpacks a letter of so many fields that they are in one.
local function whole(entry)
  local f = entry[2]
  if f[1] ~= 'dead:fields' or #f ~= 10 then return entry end
  local fields = cmsgpack.unpack(f[2])
  for i = 3, 10 do fields[#fields + 1] = f[i] end
  return {entry[1], fields}
end

local max, bytes, more, list = tonumber(ARGV[5]), tonumber(ARGV[6]), 0, {}
local at, step = from == '' and '-' or '(' .. from, 10
while more == 0 do
  local page = redis.call('XRANGE', KEYS[2], at, '+', 'COUNT', step)
  for _, entry in ipairs(page) do
    if #list >= max or bytes <= 0 then
      more = 1
      break
    end
    for _, v in ipairs(entry[2]) do bytes = bytes - #v end
    list[#list + 1] = ARGV[2] == 'dead' and whole(entry) or entry
    at = '(' .. entry[1]
  end
  if #page < step then break end
  step = 100
end
local untold = ARGV[2] == 'dead' and redis.call('XLEN', KEYS[2]) > redis.call('HLEN', KEYS[3])
return {more, untold and 1 or 0, list}
