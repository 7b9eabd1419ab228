"""The Lua scripts that Redis runs, each in one step. The fence that protects the stored catalogue is here.

KEYS are the metadata hash and the payload; those of the catalogue before, for PUBLISH and ROLLBACK; the operator's override. For
the last three, the lease. Where a script has a fence, ARGV begins with the stamp
that the caller expects, empty for no catalogue. Moments are in milliseconds of Redis's clock.
"""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# No replica writes another type than a hash under this key, so one of another type is removed.
_ONLY_HASH = "if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end"

_FENCE = f"""
{_ONLY_HASH}
if (redis.call('HGET', KEYS[1], 'stamp') or '') ~= ARGV[1] then return 0 end
"""

# No validation is later than now, whatever a replica believes of the time. A stored one that is later shows that Redis's clock
# was set back.
_VALIDATED_AT = """
local validated_at = math.min(tonumber(ARGV[2]), now)
local stored_at = tonumber(redis.call('HGET', KEYS[1], 'checked_at') or 0)
if stored_at > now then stored_at = 0 end
"""

# The second fence: another replica may have asked the upstream later, and heard that the stored catalogue is still current.
PUBLISH = f"""
{_NOW} {_FENCE} {_VALIDATED_AT}
if stored_at > validated_at then return 0 end
validated_at = string.format('%.0f', validated_at)
if redis.call('HEXISTS', KEYS[1], 'digest') == 1 and redis.call('HGET', KEYS[1], 'digest') ~= ARGV[4] then
  if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('RENAME', KEYS[1], KEYS[3])
    redis.call('RENAME', KEYS[2], KEYS[4])
  end
end
redis.call('SET', KEYS[2], ARGV[11])
redis.call('HSET', KEYS[1], 'checked_at', validated_at, 'stamp', ARGV[3], 'digest', ARGV[4], 'entries', ARGV[5],
           'vetted', ARGV[6], 'source', ARGV[7], 'etag', ARGV[8], 'last_modified', ARGV[9],
           'activate_at', string.format('%.0f', now + ARGV[10]))
redis.call('HDEL', KEYS[1], 'failures', 'retry_at')
if redis.pcall('GET', KEYS[5]) == 'accept' then redis.call('DEL', KEYS[5]) end
return 1
"""

CONFIRM = f"""
{_NOW} {_FENCE} {_VALIDATED_AT}
if validated_at > stored_at then
  redis.call('HSET', KEYS[1], 'checked_at', string.format('%.0f', validated_at), 'etag', ARGV[3], 'last_modified', ARGV[4])
end
redis.call('HDEL', KEYS[1], 'failures', 'retry_at')
return 1
"""

BACK_OFF = f"""
{_NOW} {_ONLY_HASH}
redis.call('HSET', KEYS[1], 'failures', ARGV[1], 'retry_at', string.format('%.0f', now + ARGV[2]))
return 1
"""

# As validated now: the operator's word counts like the upstream's. Without validators, so that the upstream sends what it has.
ROLLBACK = f"""
{_NOW}
local digest, stamp = redis.call('HGET', KEYS[1], 'digest'), tonumber(redis.call('HGET', KEYS[1], 'stamp') or '')
if not digest or not stamp or redis.call('EXISTS', KEYS[3], KEYS[4]) < 2 then return 0 end
redis.call('RENAME', KEYS[3], KEYS[1])
redis.call('RENAME', KEYS[4], KEYS[2])
redis.call('HSET', KEYS[1], 'stamp', string.format('%.0f', math.max(now, stamp + 1)), 'vetted', '1', 'etag', '',
           'last_modified', '', 'checked_at', string.format('%.0f', now), 'activate_at', string.format('%.0f', now + ARGV[1]))
redis.call('HDEL', KEYS[1], 'failures', 'retry_at')
redis.call('SET', KEYS[5], 'reject:' .. digest, 'PX', ARGV[2])
return 1
"""

ACCEPT = f"""
{_ONLY_HASH}
redis.call('SET', KEYS[5], 'accept', 'PX', ARGV[1])
redis.call('HDEL', KEYS[1], 'failures', 'retry_at')
return 1
"""

DROP = f"{_FENCE} redis.call('DEL', KEYS[1], KEYS[2]) return 1"

# No replica takes a lease that does not expire, so one without an expiry is replaced.
LEASE = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('PTTL', KEYS[1]) ~= -1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"

RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
