"""The Lua scripts that Redis runs, each in one step. The fence that protects the stored catalogue is here.

All get the same KEYS: 1 and 2 are the metadata hash and the payload, 3 and 4 those of the previous catalogue, 5 is the operator's
override, 6 the lease, 7 the probe. For a script with a fence, ARGV begins with the stamp that the caller expects, empty for no
catalogue. Moments are in milliseconds of Redis's clock.
"""

from apidex.replication.freshness import LONGEST_LEAD
from apidex.replication.metadata import milliseconds

_TIME = "local time = redis.call('TIME')"

_NOW = f"""
{_TIME}
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# The grammar is that of `metadata`. Lua's own also accepts hexadecimal, spaces and exponents.
_NUMBER = """
local function number(text)
  return text and #text <= 16 and string.match(text, '^[1-9]%d*$') and tonumber(text) or 0
end
"""

# The probe is written at each read, so that a Redis that answers but cannot be written to is detected at once, and not only at
# the next refresh. A field that is longer than a replica writes it is returned as empty. ARGV: the limit in bytes for a payload
# to be returned too, the limit for an override, and each field with its limit.
READ = f"""
{_TIME}
local written = redis.pcall('SET', KEYS[7], '1', 'PX', 60000)
local refused = type(written) == 'table' and written.err or false
local kind, fields = redis.call('TYPE', KEYS[1]).ok, {{}}
for index = 3, kind == 'hash' and #ARGV or 0, 2 do
  local value = ''
  if redis.call('HSTRLEN', KEYS[1], ARGV[index]) <= tonumber(ARGV[index + 1]) then
    value = redis.call('HGET', KEYS[1], ARGV[index])
  end
  fields[(index - 1) / 2] = value
end
local function text(key, most)
  local length = redis.call('TYPE', key).ok == 'string' and redis.call('STRLEN', key)
  return length, length and length <= tonumber(most) and redis.call('GET', key)
end
local length, payload = text(KEYS[2], ARGV[1])
local _, override = text(KEYS[5], ARGV[2])
return {{time[1], time[2], refused, kind, fields, length, payload, override, redis.call('PTTL', KEYS[5])}}
"""

# No replica writes another type than a hash under this key, so one of another type is removed.
_ONLY_HASH = "if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end"

_FENCE = f"""
{_ONLY_HASH}
if (redis.call('HGET', KEYS[1], 'stamp') or '') ~= ARGV[1] then return 0 end
"""

# No validation is later than now, whatever a replica believes of the time. A stored one that is later shows that Redis's clock
# was set back.
_VALIDATED_AT = f"""
{_NUMBER}
local validated_at = math.max(0, math.min(tonumber(ARGV[2]), now))
local stored_at = number(redis.call('HGET', KEYS[1], 'checked_at'))
if stored_at > now then stored_at = 0 end
"""

# The second fence: another replica may have asked the upstream later, which has confirmed the stored catalogue. The hash is
# deleted first, so that no other field remains. Two replicas may have fetched the same content while Redis was away: those that
# have read the first publication wait for its moment, so the second one keeps it. The third fence: for the same reason, no other
# content replaces one that waits for its moment (ten minutes ahead at most).
PUBLISH = f"""
{_NOW} {_FENCE} {_VALIDATED_AT}
if stored_at > validated_at then return 0 end
validated_at = string.format('%.0f', validated_at)
local activate_at, stored = now + ARGV[10], redis.call('HGET', KEYS[1], 'digest')
local promised = number(redis.call('HGET', KEYS[1], 'activate_at'))
if promised > now + {milliseconds(LONGEST_LEAD.total_seconds())} then promised = 0 end
if stored == ARGV[4] then
  if promised > now then activate_at = math.min(activate_at, promised) end
elseif stored and redis.call('EXISTS', KEYS[2]) == 1 then
  if promised > now and activate_at > now then return 0 end
  redis.call('RENAME', KEYS[1], KEYS[3])
  redis.call('RENAME', KEYS[2], KEYS[4])
  redis.call('HSET', KEYS[3], 'replaced_by', ARGV[4])
end
redis.call('SET', KEYS[2], ARGV[11])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'checked_at', validated_at, 'stamp', ARGV[3], 'digest', ARGV[4], 'entries', ARGV[5],
           'vetted', ARGV[6], 'source', ARGV[7], 'etag', ARGV[8], 'last_modified', ARGV[9],
           'activate_at', string.format('%.0f', activate_at))
if redis.pcall('GET', KEYS[5]) == 'accept' then redis.call('DEL', KEYS[5]) end
return activate_at
"""

_END_BACK_OFF = "redis.call('HDEL', KEYS[1], 'failures', 'failed_at', 'retry_at')"

CONFIRM = f"""
{_NOW} {_FENCE} {_VALIDATED_AT}
if validated_at > stored_at then
  redis.call('HSET', KEYS[1], 'checked_at', string.format('%.0f', validated_at), 'etag', ARGV[3], 'last_modified', ARGV[4])
end
{_END_BACK_OFF}
return 1
"""

BACK_OFF = f"""
{_NOW} {_ONLY_HASH}
redis.call('HSET', KEYS[1], 'failures', ARGV[1], 'failed_at', string.format('%.0f', now),
           'retry_at', string.format('%.0f', now + ARGV[2]))
return 1
"""

# The catalogue counts as validated now, by the operator. It has no validators, so that the upstream sends a whole answer. Only
# the catalogue that the stored one replaced is the previous one: 0.1.0 publishes without keeping what was there.
ROLLBACK = f"""
{_NOW} {_NUMBER}
local digest, stamp = redis.call('HGET', KEYS[1], 'digest'), number(redis.call('HGET', KEYS[1], 'stamp'))
if not digest or stamp == 0 or redis.call('EXISTS', KEYS[3], KEYS[4]) < 2 then return 0 end
if redis.pcall('HGET', KEYS[3], 'replaced_by') ~= digest then return 0 end
redis.call('RENAME', KEYS[3], KEYS[1])
redis.call('RENAME', KEYS[4], KEYS[2])
redis.call('HSET', KEYS[1], 'stamp', string.format('%.0f', math.max(now, stamp + 1)), 'vetted', '1', 'etag', '',
           'last_modified', '', 'checked_at', string.format('%.0f', now), 'activate_at', string.format('%.0f', now + ARGV[1]))
{_END_BACK_OFF}
redis.call('SET', KEYS[5], 'reject:' .. digest, 'PX', ARGV[2])
return 1
"""

ACCEPT = f"""
{_ONLY_HASH}
redis.call('SET', KEYS[5], 'accept', 'PX', ARGV[1])
{_END_BACK_OFF}
return 1
"""

DROP = f"{_FENCE} redis.call('DEL', KEYS[1], KEYS[2]) return 1"

RESET = "redis.call('DEL', KEYS[1], KEYS[2]) return 1"

CLEAR = "redis.call('DEL', unpack(KEYS)) return 1"

# A lease without an end, or that ends later than the new one would, is not from a replica: it is replaced.
LEASE = """
if redis.call('SET', KEYS[6], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
local left = redis.call('PTTL', KEYS[6])
if left >= 0 and left <= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[6], ARGV[1], 'PX', ARGV[2])
return 1
"""

RENEW = "if redis.call('GET', KEYS[6]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[6], ARGV[2]) end return 0"

RELEASE = "if redis.call('GET', KEYS[6]) == ARGV[1] then return redis.call('DEL', KEYS[6]) end return 0"
