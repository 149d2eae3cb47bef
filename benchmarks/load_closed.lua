-- Sends prepared requests from a file, each once and in order, and prints the counts of wrk as one line of JSON.
-- In the file, each request follows its length in bytes (four bytes, little-endian). The script stops after the last
-- request, and the time that it prints ends there.
local ffi = require("ffi")
ffi.cdef [[
   typedef struct { long seconds; long nanoseconds; } moment;
   int clock_gettime(int clock, moment *now);
]]
local threads = {}
local file
local began
lasted = -1

local function now()
   local moment = ffi.new("moment")
   ffi.C.clock_gettime(0, moment)
   return tonumber(moment.seconds) + tonumber(moment.nanoseconds) / 1e9
end

function setup(thread)
   table.insert(threads, thread)
end

function init(arguments)
   file = assert(io.open(arguments[1], "rb"))
end

function request()
   local length = file:read(4)
   if not length then
      if lasted < 0 then
         lasted = now() - began
         wrk.thread:stop()
      end
      return "GET /nothing-left HTTP/1.1\r\nHost: localhost\r\n\r\n"
   end
   began = began or now()
   local a, b, c, d = length:byte(1, 4)
   return file:read(a + 256 * (b + 256 * (c + 256 * d)))
end

function done(summary, latency, requests)
   local errors = summary.errors
   local until_none_left = threads[1]:get("lasted")
   local seconds = until_none_left < 0 and summary.duration / 1e6 or until_none_left
   print(string.format(
      '{"answered":%d,"refused":%d,"failed":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"max_ms":%f}',
      summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout, seconds,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
