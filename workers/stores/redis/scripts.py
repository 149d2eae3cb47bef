"""What the store does in Redis, each as one step. Every time there is the server's.

A key holds its own time to live, so that what is kept is bounded. Keys are named in the scripts, which one server
allows and a Redis Cluster does not.
"""

_NOW = """
local moment = redis.call('TIME')
local now_ms = moment[1] * 1000 + math.floor(moment[2] / 1000)
"""
_LIVES = """
local function lives(owner) return redis.call('EXISTS', 'hookline:owner:' .. owner) == 1 end
"""

# ARGV: owner, ttl_ms, and a JSON list with four things for each event: its name, for_ms, whether it is ours, and the
# key of its subject's newest, or ''. One text costs a client less than many. Answers, with commas between: 's' for
# seen, 'b' for busy, or suspect, crashes and failures, and the newest after an '@', if there is one.
CLAIM = (
    _NOW
    + _LIVES
    + """
local answers = {}
local requests = cjson.decode(ARGV[3])
for i = 1, #requests / 4 do
    local name, for_ms, ours, newest = requests[4 * i - 3], requests[4 * i - 2], requests[4 * i - 1], requests[4 * i]
    local mark, key = 'hookline:handled:' .. name, 'hookline:claim:' .. name
    local old = redis.call('HMGET', key, 'owner', 'until', 'alone', 'crashes', 'failures')
    local owner = old[1] or ''
    local living = owner ~= '' and lives(owner)
    if redis.call('EXISTS', mark) == 1 then
        answers[i] = 's'
    elseif living and tonumber(old[2]) > now_ms and not (owner == ARGV[1] and ours) then
        answers[i] = 'b'
    else
        local died = owner ~= '' and not living
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

# KEYS: the claim. ARGV: whether it failed, whether it is parked, owner.
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

# ARGV: ttl_ms, a JSON list of the events' names, and one with the key of each subject's newest and its time, as texts.
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

# KEYS: the shares. ARGV: share, owner.
REVOKE = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
"""

# KEYS: the members, the shares. ARGV: owner, lease_ms. Shows up, and answers the members that live, then the shares
# with their holders.
MUSTER = (
    _LIVES
    + """
redis.call('SET', 'hookline:owner:' .. ARGV[1], '', 'PX', ARGV[2])
redis.call('SADD', KEYS[1], ARGV[1])
local members = {}
for _, owner in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    if lives(owner) then members[#members + 1] = owner else redis.call('SREM', KEYS[1], owner) end
end
return {members, redis.call('HGETALL', KEYS[2])}
"""
)

# KEYS: the shares. ARGV: owner, and for each share its name and whom it was seen with. Answers those that are taken.
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
