-- What stands before each script: its answer's parts in one text, the lengths first.
local function pack(parts, count)
  local lengths, found = {}, {}
  for index = 1, count do
    local part = parts[index] and tostring(parts[index])
    lengths[index] = part and #part or -1
    found[#found + 1] = part or nil
  end
  return table.concat(lengths, ' ') .. '\n' .. table.concat(found)
end

