-- Put before every script of presence: reads what a member of the hash of one project shows.

local function now_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- What somebody put there by hand instead of a hash makes room.
local function make_room(key)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', key) end
end

-- Returns which stream of a session a member was shown for.
local function stream_epoch(value)
  local presence = value.presence
  return type(presence) == 'table' and tonumber(presence.stream_epoch) or 0
end

-- Returns the member, or nil when it is not ours to read or its lease is over.
local function living(text, now)
  if not text then return nil end
  local read, value = pcall(cjson.decode, text)
  if not read or type(value) ~= 'table' or type(value.replica_id) ~= 'string' then return nil end
  if type(value.expires_at) ~= 'number' or not (value.expires_at > now) then return nil end
  return value
end
