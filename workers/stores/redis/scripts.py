"""The Redis store's Lua scripts. The server runs each as one step. Every time in them is the server's.

Every key has a time to live, so that the store is bounded. The scripts build the names of keys, which one server
allows and a Redis Cluster does not.
"""

_NOW = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
"""
_IS_ALIVE = """
local function is_alive(owner) return redis.call('EXISTS', 'hookline:owner:' .. owner) == 1 end
"""

# ARGV: owner, ttl_ms, and a JSON list with four items for each request: the event's name, for_ms, `ours`, and the key
# of its subject's newest time or ''. One text costs a client less than many. Returns answers joined by commas: 'd' for
# Duplicate, 'l' for LeasedElsewhere, or crash_suspect, crashes, failures, and the newest time after an '@' if known.
CLAIM = (
    _NOW
    + _IS_ALIVE
    + """
local answers = {}
local requests = cjson.decode(ARGV[3])
for i = 1, #requests / 4 do
    local name, for_ms, ours, newest = requests[4 * i - 3], requests[4 * i - 2], requests[4 * i - 1], requests[4 * i]
    local handled, key = 'hookline:handled:' .. name, 'hookline:claim:' .. name
    local old = redis.call('HMGET', key, 'owner', 'until', 'alone', 'crashes', 'failures')
    local owner = old[1] or ''
    local alive = owner ~= '' and is_alive(owner)
    if redis.call('EXISTS', handled) == 1 then
        answers[i] = 'd'
    elseif alive and tonumber(old[2]) > now_ms and not (owner == ARGV[1] and ours) then
        answers[i] = 'l'
    else
        local died = owner ~= '' and not alive
        local crashes = tonumber(old[4] or 0)
        if died and old[3] == '1' then crashes = crashes + 1 end
        local failures = tonumber(old[5] or 0)
        redis.call('HSET', key, 'owner', ARGV[1], 'until', now_ms + for_ms, 'alone', 0,
            'crashes', crashes, 'failures', failures)
        redis.call('PEXPIRE', key, ARGV[2])
        local occurred_s = newest ~= '' and redis.call('GET', newest)
        answers[i] = (died and 1 or 0) .. ' ' .. crashes .. ' ' .. failures .. (occurred_s and '@' .. occurred_s or '')
    end
end
return table.concat(answers, ',')
"""
)

# KEYS: the claim. ARGV: failed, parked, owner.
RELEASE = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[3] then return end
redis.call('HSET', KEYS[1], 'owner', '', 'alone', 0)
local failures = redis.call('HINCRBY', KEYS[1], 'failures', ARGV[1])
if ARGV[2] == '1' or (failures == 0 and redis.call('HGET', KEYS[1], 'crashes') == '0') then
    redis.call('DEL', KEYS[1])
end
"""

MARK_EXCLUSIVE = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'alone', 1) end
"""

# ARGV: ttl_ms, a JSON list of the events' names, and a JSON list of keys of newest times, each followed by its time.
FINISH = """
for _, name in ipairs(cjson.decode(ARGV[2])) do
    redis.call('SET', 'hookline:handled:' .. name, '', 'PX', ARGV[1])
    redis.call('DEL', 'hookline:claim:' .. name)
end
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

# KEYS: the members, the holders of partitions. ARGV: owner, lease_ms. Sends a heartbeat, and returns the members that
# are alive and the partitions with their holders.
JOIN = (
    _IS_ALIVE
    + """
redis.call('SET', 'hookline:owner:' .. ARGV[1], '', 'PX', ARGV[2])
redis.call('SADD', KEYS[1], ARGV[1])
local members = {}
for _, owner in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    if is_alive(owner) then members[#members + 1] = owner else redis.call('SREM', KEYS[1], owner) end
end
return {members, redis.call('HGETALL', KEYS[2])}
"""
)

# KEYS: the holders of partitions. ARGV: owner, then for each partition its name and the holder it had. Returns the
# partitions that were taken: those whose holder has not changed.
TAKE = """
local taken = {}
for i = 2, #ARGV, 2 do
    if (redis.call('HGET', KEYS[1], ARGV[i]) or '') == ARGV[i + 1] then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[1])
        taken[#taken + 1] = ARGV[i]
    end
end
return taken
"""
