"""The Redis store's Lua scripts. The server runs each as one step. Every time in them is the server's.

Every key has a time to live, so that the store is bounded. The scripts build the names of keys, which one server
allows and a Redis Cluster does not.
"""

from hookline.schemas.leases import LEASE_S, MAX_STEP_S

SCHEMA_VERSION = 3
"""Stands for the keys and their contents. A change that older versions cannot read gets the next number."""
_LEASE_MS = round(1000 * LEASE_S)
_MAX_STEP_MS = round(1000 * MAX_STEP_S)
_KEEP_MS = 7 * 24 * 3600 * 1000

_NOW = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# The hash `hookline:leases` holds the lease clock, the time at which it was last advanced, and when each owner was last
# seen by it: one key, so that a server that loses some of its keys loses all of that or nothing.
_IS_ALIVE = f"""
local function is_alive(owner)
    local seen = redis.call('HMGET', 'hookline:leases', 'value', owner)
    return seen[1] and seen[2] and seen[1] - seen[2] <= {_LEASE_MS}
end
"""
# Advances the lease clock and renews an owner's lease. Returns the clock's value.
_RENEW = (
    _NOW
    + f"""
local function renew(owner)
    local clock = redis.call('HMGET', 'hookline:leases', 'value', 'at')
    local step = math.max(0, math.min(now_ms - (clock[2] or now_ms), {_MAX_STEP_MS}))
    local value = (clock[1] or 0) + step
    redis.call('HSET', 'hookline:leases', 'value', value, 'at', now_ms, owner, value)
    redis.call('PEXPIRE', 'hookline:leases', {_KEEP_MS})
    return value
end
"""
)

# What starts something new fails once a newer version has used the store, which may keep it elsewhere.
_CHECK_SCHEMA = f"""
if tonumber(redis.call('GET', 'hookline:schema') or 0) > {SCHEMA_VERSION} then
    return redis.error_reply('a newer version of Hookline uses these keys: restart this process with it')
end
"""

# Counts the failures of an attempt, once for each number.
_NOTE_ATTEMPT = """
local function note_attempt(key, failed, tried)
    if tonumber(tried) == 0 then
        redis.call('HINCRBY', key, 'failures', failed)
    elseif tonumber(tried) > tonumber(redis.call('HGET', key, 'tried') or 0) then
        redis.call('HINCRBY', key, 'failures', failed)
        redis.call('HSET', key, 'tried', tried)
    end
end
"""

# Frees a claim; what it counts is kept.
_GIVE_UP = (
    _NOTE_ATTEMPT
    + """
local function give_up(key, failed, copy, tried)
    redis.call('HSET', key, 'owner', '', 'alone', 0)
    note_attempt(key, failed, tried)
    local counts = redis.call('HMGET', key, 'deaths', 'crashes', 'failures', 'copy', 'tried')
    if tonumber(copy) > tonumber(counts[4] or 0) then
        redis.call('HSET', key, 'copy', copy)
    elseif (counts[1] or '0') == '0' and (counts[2] or '0') == '0' and (counts[3] or '0') == '0'
        and not (counts[4] or counts[5]) then
        redis.call('DEL', key)
    end
end
"""
)

# ARGV: owner, a value of the lease clock, and a JSON list of the names of events whose claims this owner knows of.
# Renews its lease, frees its claims of before that value that it does not know of, and deletes the owners that have
# died. Returns the lease clock's value. The hash `hookline:claims:<owner>` holds the owner's claims and when each was
# made.
BEAT = (
    _RENEW
    + _GIVE_UP
    + f"""
local value, before, mine = renew(ARGV[1]), tonumber(ARGV[2]), 'hookline:claims:' .. ARGV[1]
local leases = redis.call('HGETALL', 'hookline:leases')
for i = 1, #leases, 2 do
    local name = leases[i]
    if name ~= 'value' and name ~= 'at' and value - leases[i + 1] > {_LEASE_MS} then
        redis.call('HDEL', 'hookline:leases', name)
        redis.call('DEL', 'hookline:claims:' .. name)
    end
end
if before > value then return value end  -- the server has lost its keys
local known = {{}}
for _, name in ipairs(cjson.decode(ARGV[3])) do known[name] = true end
local claims = redis.call('HGETALL', mine)
for i = 1, #claims, 2 do
    local name, claimed = claims[i], tonumber(claims[i + 1])
    if claimed < before and not known[name] then
        local key = 'hookline:claim:' .. name
        if redis.call('HGET', key, 'owner') == ARGV[1] then give_up(key, 0, 0, 0) end
        redis.call('HDEL', mine, name)
    end
end
return value
"""
)

# ARGV: owner, ttl_ms, and a JSON list with four items for each request: the event's name, `ours`, the key of its
# subject's newest time or '', and the number. One text costs a client less than many. Returns answers joined by commas:
# 'd' for Duplicate, 'l' for LeasedElsewhere, or deaths, crashes, failures, copy, tried, and the newest time after an
# '@' if known.
CLAIM = (
    _CHECK_SCHEMA
    + _IS_ALIVE
    + """
local call, owner, ttl_ms = redis.call, ARGV[1], ARGV[2]

-- What was counted of an event that the server knows; nil, and why, if it may not be claimed.
local function counted(handled, key, ours)
    if call('EXISTS', handled) == 1 then return nil, 'd' end
    local old = call('HMGET', key, 'owner', 'alone', 'deaths', 'crashes', 'failures', 'copy', 'tried')
    local before, deaths, crashes = old[1] or '', tonumber(old[3] or 0), tonumber(old[4] or 0)
    local alive = before == owner or (before ~= '' and is_alive(before))
    if alive and not (before == owner and ours) then return nil, 'l' end
    if before ~= '' and not alive then
        deaths = deaths + 1
        if old[2] == '1' then crashes = crashes + 1 end
    end
    call('HSET', key, 'alone', 0, 'deaths', deaths, 'crashes', crashes)
    return deaths .. ' ' .. crashes .. ' ' .. (old[5] or 0) .. ' ' .. (old[6] or 0) .. ' ' .. (old[7] or 0)
end

local answers, made = {}, {}
local now = call('HGET', 'hookline:leases', 'value') or 0
local requests = cjson.decode(ARGV[3])
for i = 1, #requests / 4 do
    local name, ours, newest, number = unpack(requests, 4 * i - 3, 4 * i)
    local handled, key = 'hookline:handled:' .. name, 'hookline:claim:' .. name
    local counts, reason = '0 0 0 0 0', nil
    if call('EXISTS', handled, key) > 0 then counts, reason = counted(handled, key, ours) end
    if counts then
        call('HSET', key, 'owner', owner, 'number', number)  -- what is not there was counted 0 times
        call('PEXPIRE', key, ttl_ms)
        made[#made + 1] = name
        made[#made + 1] = now
        local occurred_s = newest ~= '' and call('GET', newest)
        answers[i] = occurred_s and counts .. '@' .. occurred_s or counts
    else
        answers[i] = reason
    end
end
if #made > 0 then
    redis.call('HSET', 'hookline:claims:' .. ARGV[1], unpack(made))
    redis.call('PEXPIRE', 'hookline:claims:' .. ARGV[1], ARGV[2])
end
return table.concat(answers, ',')
"""
)

# Whether the claim of this key is the owner's, and no newer than that of the number.
_IS_OF = """
local function is_of(key, owner, number)
    local claim = redis.call('HMGET', key, 'owner', 'number')
    return claim[1] == owner and tonumber(claim[2] or 0) <= tonumber(number)
end
"""

# ARGV: the event's name, failed, copy, owner, number, tried.
RELEASE = (
    _GIVE_UP
    + _IS_OF
    + """
local key = 'hookline:claim:' .. ARGV[1]
if is_of(key, ARGV[4], ARGV[5]) then give_up(key, ARGV[2], ARGV[3], ARGV[6]) end
if redis.call('HGET', key, 'owner') ~= ARGV[4] then redis.call('HDEL', 'hookline:claims:' .. ARGV[4], ARGV[1]) end
"""
)

# KEYS: the claim. ARGV: owner, number. Returns whether it has the claim.
MARK_EXCLUSIVE = (
    _IS_OF
    + """
if not is_of(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'alone', 1)
return 1
"""
)

# KEYS: the claim. ARGV: owner, number, copy. Returns whether it has the claim.
START_ANEW = (
    _IS_OF
    + """
if not is_of(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'deaths', 0, 'crashes', 0, 'failures', 0, 'copy', ARGV[3])
redis.call('HDEL', KEYS[1], 'tried')
return 1
"""
)

# KEYS: the claim. ARGV: owner, number, failed, tried. Returns whether it has the claim.
NOTE_ATTEMPT = (
    _NOTE_ATTEMPT
    + _IS_OF
    + """
if not is_of(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
note_attempt(KEYS[1], ARGV[3], ARGV[4])
return 1
"""
)

# ARGV: ttl_ms, a JSON list of the events' names, a JSON list of keys of newest times, each followed by its time, and
# the owner.
FINISH = """
local names = cjson.decode(ARGV[2])
for _, name in ipairs(names) do
    redis.call('SET', 'hookline:handled:' .. name, '', 'PX', ARGV[1])
    redis.call('DEL', 'hookline:claim:' .. name)
end
redis.call('HDEL', 'hookline:claims:' .. ARGV[4], unpack(names))
local newest = cjson.decode(ARGV[3])
for i = 1, #newest, 2 do
    local key, occurred_s = newest[i], newest[i + 1]
    local old = redis.call('GET', key)
    if old and tonumber(old) > tonumber(occurred_s) then occurred_s = old end
    redis.call('SET', key, occurred_s, 'PX', ARGV[1])
end
"""

# KEYS: the holders of partitions. ARGV: partition, owner.
REVOKE = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
"""

# KEYS: when each owner asked, the holders of partitions, when they reported, what was declined. ARGV: owner, ttl_ms,
# for how long something is declined. Renews the owner's lease, and notes that it asked. Returns the lease clock's value
# and the contents of the keys as they were before.
ASK = (
    _CHECK_SCHEMA
    + _RENEW
    + _IS_ALIVE
    + """
local value, asked, declined = renew(ARGV[1]), {}, {}
local found = redis.call('HGETALL', KEYS[1])
for i = 1, #found, 2 do
    if is_alive(found[i]) then
        asked[#asked + 1] = found[i]
        asked[#asked + 1] = found[i + 1]
    else
        redis.call('HDEL', KEYS[1], found[i])
    end
end
found = redis.call('HGETALL', KEYS[4])
for i = 1, #found, 2 do
    if value - found[i + 1] <= tonumber(ARGV[3]) then
        declined[#declined + 1] = found[i]
        declined[#declined + 1] = found[i + 1]
    else
        redis.call('HDEL', KEYS[4], found[i])
    end
end
redis.call('HSET', KEYS[1], ARGV[1], value)
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[2]) end
return {value, asked, redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3]), declined}
"""
)

# KEYS: as for ASK. ARGV: owner, the value that ASK returned, ttl_ms, and JSON lists: partitions that were reported; of
# those to take, each with the holder and the report that it had, '' for none; those whose holder does not consume them,
# each with the holder; then when what is taken counts as reported. Returns the partitions that were taken: those whose
# holder and report have not changed.
TAKE = """
for _, partition in ipairs(cjson.decode(ARGV[4])) do
    if redis.call('HEXISTS', KEYS[2], partition) == 1 then redis.call('HSET', KEYS[3], partition, ARGV[2]) end
end
local wanted, overdue, taken = cjson.decode(ARGV[5]), cjson.decode(ARGV[6]), {}
for i = 1, #wanted, 3 do
    local partition, holder, reported = wanted[i], wanted[i + 1], wanted[i + 2]
    if (redis.call('HGET', KEYS[2], partition) or '') == holder
        and (holder == '' or (redis.call('HGET', KEYS[3], partition) or '0') == reported) then
        redis.call('HSET', KEYS[2], partition, ARGV[1])
        redis.call('HSET', KEYS[3], partition, ARGV[7])
        taken[#taken + 1] = partition
    end
end
for i = 1, #overdue, 2 do redis.call('HSET', KEYS[4], overdue[i] .. ' ' .. overdue[i + 1], ARGV[2]) end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[3]) end
return taken
"""

# KEYS: what was declined. ARGV: partition, owner, ttl_ms.
DECLINE = """
redis.call('HSET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], redis.call('HGET', 'hookline:leases', 'value') or 0)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
"""
