-- Put before every script of the locks: reads and writes what the key of one lock shows.

-- Returns what is shown, or nil; and 1 when something else lies there: not our JSON, another type of key, or a key that
-- would never expire. Such a thing was put there by hand. It counts as nothing, and whoever writes next replaces it.
local function shown(key)
  local text = redis.pcall('GET', key)
  if not text then return nil, 0 end
  if type(text) == 'table' then return nil, 1 end
  local read, value = pcall(cjson.decode, text)
  if not read or type(value) ~= 'table' then return nil, 1 end
  for _, member in ipairs({'user_id', 'session_id', 'replica_id'}) do
    if type(value[member]) ~= 'string' then return nil, 1 end
  end
  if type(value.expires_at) ~= 'number' or type(value.fence) ~= 'number' then return nil, 1 end
  -- Not a number at all, or more than a double counts: no fence is. (NaN is neither more nor less than anything.)
  if not (value.fence >= 0 and value.fence < 9007199254740992) then return nil, 1 end
  if redis.call('PTTL', key) < 0 then return nil, 1 end
  return value, 0
end

local function show(key, user_id, session_id, replica_id, px_ms, fence)
  local now = redis.call('TIME')
  local value = {
    user_id = user_id,
    expires_at = now[1] * 1000 + math.floor(now[2] / 1000) + tonumber(px_ms),
    session_id = session_id,
    replica_id = replica_id,
    fence = fence,
  }
  local condition = redis.call('EXISTS', key) == 0 and 'NX' or 'XX'
  redis.call('SET', key, cjson.encode(value), condition, 'PX', px_ms)
end
