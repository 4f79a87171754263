-- ids is the beginning of scripts that compare ids.

-- later tells whether the id a comes after b. Ids are compared as texts, since
-- their numbers may be larger than Lua's are exact.
local function later(a, b)
  local ams, aseq = a:match('^(%d+)-(%d+)$')
  local bms, bseq = b:match('^(%d+)-(%d+)$')
  if ams == bms then ams, bms = aseq, bseq end
  if #ams ~= #bms then return #ams > #bms end
  return ams > bms
end

-- behind is the id right behind id, or id itself where numbers in Lua are not
-- exact: then one message more is kept.
local function behind(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  if #seq > 15 then return id end
  return ms .. '-' .. string.format('%.0f', seq + 1)
end
