-- Lists a project and forgets whose lease is over and what nobody can read. KEYS: project.
-- Returns, flat: session_id, milliseconds left of its lease, JSON, and so on.
local now = now_ms()
make_room(KEYS[1])
local members = redis.call('HGETALL', KEYS[1])
local present = {}
for at = 1, #members, 2 do
  local value = living(members[at + 1], now)
  if value then
    present[#present + 1] = members[at]
    present[#present + 1] = value.expires_at - now
    present[#present + 1] = members[at + 1]
  else
    redis.call('HDEL', KEYS[1], members[at])
  end
end
return present
