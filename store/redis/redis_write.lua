-- Writes cells of one entity, or deletes it, in Redis itself: newer wins by (event time, position). Redis 6 is enough.
--
-- KEYS[1]  the entity's hash
-- ARGV     "put" or "delete"; now in ms; ms that a tombstone is kept; "1": the hash of this kind never expires; then
--          put:    for each cell its field, its order "T.P", its text ("": delete it) and ms to its expiry ("": never)
--          delete: the order "T.P"
-- returns  a letter for each cell, or one for the row: a applied, s stale
--
-- Times T and positions P are hexadecimal of fixed width, since a number here has 53 bits. Only this hash is touched.
local key, what, now_ms, keep_ms, is_lasting = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local FIELD = '__fabra_deleted__'
local NO_POSITION = string.rep('0', 32)
local LATEST = string.rep('f', 32) -- of what another program wrote: it counts as written when it is read

-- Days since 1970 of a date, by the calendar's eras of 400 years.
local function days_of(y, m, d)
	if m <= 2 then y, m = y - 1, m + 12 end
	local era = math.floor(y / 400)
	local of_era = y - era * 400
	local of_year = math.floor((153 * (m - 3) + 2) / 5) + d - 1
	return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end

-- T of an ISO time; nil: it is none.
local function time_of(text)
	local y, mo, d, h, mi, s, rest = string.match(text, '^(%d%d%d%d)%-(%d%d)%-(%d%d)[T ](%d%d):(%d%d):(%d%d)(.*)$')
	if not y then return nil end
	local fraction, zone = string.match(rest, '^%.(%d+)(.*)$')
	if not fraction then fraction, zone = '', rest end
	fraction = string.sub(fraction .. '000000000', 1, 9)
	local sign, zh, zm = string.match(zone, '^([+-])(%d%d):?(%d%d)')
	local east = sign and (zh * 60 + zm) * 60 * (sign == '-' and -1 or 1) or 0
	local seconds = days_of(tonumber(y), tonumber(mo), tonumber(d)) * 86400 + h * 3600 + mi * 60 + s - east
	-- Microseconds in parts of 16 bits: as one number they would be beyond 53 bits.
	local high = math.floor(seconds / 65536)
	local low = (seconds - high * 65536) * 1000000 + tonumber(string.sub(fraction, 1, 6))
	high = high * 1000000 + math.floor(low / 65536) + 2 ^ 47
	return string.format('%06x%06x%04x%03x', math.floor(high / 2 ^ 24), high % 2 ^ 24, low % 65536,
		tonumber(string.sub(fraction, 7, 9)))
end

-- T and P of a value that is there. nil: its age is unknown, and everything is newer.
local function order_of(text)
	local t, p = string.match(string.sub(text, -114), '^, "fabra_n": "(%x+)%.(%x+)%.%x+%.%x+%.%x+%.%x+"}$')
	if t and #t == 19 and #p == 32 then return t, p end
	local is_json, found = pcall(cjson.decode, text)
	if is_json and type(found) == 'table' and found['__fabra_feature_value__'] == true and
		type(found['as_of']) == 'string' then
		return time_of(found['as_of']), LATEST
	end
	return nil
end

-- Of a tie the delete wins. A value without a position is hidden only by a time that is not before its own.
local function hides(deleted, t, p)
	return deleted.t > t or (deleted.t == t and deleted.p >= p) or (p ~= NO_POSITION and deleted.p > p)
end

local function covers(deleted, t, p)
	return deleted.t >= t and deleted.p >= p
end

local ttl_ms = redis.call('PTTL', key) -- -2: there is no hash; -1: it never expires
local tombstones, are_changed = {}, false -- by field; '' is the row's

local function read_tombstones(text)
	for t, p, till, field in string.gmatch(text, '(%x+)%.(%x+)%.(%d+) ([^\n]*)\n') do
		if tonumber(till) > now_ms and #t == 19 and #p == 32 then
			tombstones[field] = { t = t, p = p, till = till }
		else
			are_changed = true
		end
	end
end

local function add_tombstone(field, t, p)
	local old = tombstones[field]
	if old and old.t > t then t = old.t end
	if old and old.p > p then p = old.p end
	tombstones[field] = { t = t, p = p, till = string.format('%.0f', now_ms + keep_ms) }
	are_changed = true
end

local function write_tombstones()
	local lines = {}
	for field, d in pairs(tombstones) do lines[#lines + 1] = d.t .. '.' .. d.p .. '.' .. d.till .. ' ' .. field .. '\n' end
	table.sort(lines)
	if #lines > 0 then
		redis.call('HSET', key, FIELD, table.concat(lines))
	else
		redis.call('HDEL', key, FIELD)
	end
end

-- What a write needs the hash to live for: ms, or 'ever'.
local needed_ms = nil
local function need(ms)
	if needed_ms ~= 'ever' and (ms == 'ever' or needed_ms == nil or ms > needed_ms) then needed_ms = ms end
end

local function put(field, t, p, text, expires_ms, old)
	local row, deleted = tombstones[''], tombstones[field]
	if (row and hides(row, t, p)) or (deleted and hides(deleted, t, p)) then return 's' end
	local old_t, old_p
	if old then old_t, old_p = order_of(old) end
	if old_t and (old_t > t or (old_t == t and old_p > p)) then return 's' end
	redis.call('HSET', key, field, text)
	if deleted then
		tombstones[field] = nil
		are_changed = true
	end
	need(expires_ms)
	return 'a'
end

local function delete(field, t, p, old)
	local row, deleted = tombstones[''], tombstones[field]
	if (row and row.p >= p) or (deleted and covers(deleted, t, p)) then return 's' end
	if old then
		local old_t, old_p = order_of(old)
		if old_t and not hides({ t = t, p = p }, old_t, old_p) then return 's' end
		redis.call('HDEL', key, field)
	end
	add_tombstone(field, t, p)
	need(keep_ms)
	return 'a'
end

local function delete_row(t, p)
	local row = tombstones['']
	if row and covers(row, t, p) then return 's' end
	add_tombstone('', t, p)
	row = tombstones['']
	local all = redis.call('HGETALL', key)
	for i = 1, #all, 2 do
		local old_t, old_p = nil, nil
		if all[i] ~= FIELD then old_t, old_p = order_of(all[i + 1]) end
		if all[i] ~= FIELD and (old_t == nil or hides(row, old_t, old_p)) then redis.call('HDEL', key, all[i]) end
	end
	for field, d in pairs(tombstones) do
		if field ~= '' and row.p >= d.p then tombstones[field] = nil end
	end
	need(keep_ms)
	return 'a'
end

local answer = {}
if what == 'delete' then
	read_tombstones(redis.call('HGET', key, FIELD) or '')
	answer[1] = delete_row(string.sub(ARGV[5], 1, 19), string.sub(ARGV[5], 21))
else
	local fields = { FIELD }
	for i = 5, #ARGV, 4 do fields[#fields + 1] = ARGV[i] end
	local found = redis.call('HMGET', key, unpack(fields))
	read_tombstones(found[1] or '')
	local written = {} -- a field that comes twice
	for i = 5, #ARGV, 4 do
		local n, field, text = #answer + 1, ARGV[i], ARGV[i + 2]
		local t, p = string.sub(ARGV[i + 1], 1, 19), string.sub(ARGV[i + 1], 21)
		local old = found[n + 1]
		if written[field] ~= nil then old = written[field] end
		if text == '' then
			answer[n] = delete(field, t, p, old)
		else
			answer[n] = put(field, t, p, text, tonumber(ARGV[i + 3]) or 'ever', old)
		end
		if answer[n] == 'a' then written[field] = text ~= '' and text end
	end
end
if are_changed then write_tombstones() end

-- The hash lives as long as the longest of what is in it; where tombstones alone are left, as long as they.
if needed_ms ~= nil then
	local are_all = next(tombstones) ~= nil and redis.call('HLEN', key) == 1
	if are_all then
		redis.call('PEXPIRE', key, string.format('%.0f', keep_ms))
	elseif is_lasting or needed_ms == 'ever' then
		if ttl_ms >= 0 then redis.call('PERSIST', key) end
	elseif ttl_ms ~= -1 and needed_ms > ttl_ms then
		redis.call('PEXPIRE', key, string.format('%.0f', math.max(1, needed_ms)))
	end
end
return table.concat(answer)
