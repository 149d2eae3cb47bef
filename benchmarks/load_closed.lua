-- Sends prepared requests from a file, each once and in order, and prints what wrk counted as one line of JSON.
-- Before each request in the file stand its length in bytes, as four bytes, the least first.
local threads = {}
local file
ran_out = false

function setup(thread)
   table.insert(threads, thread)
end

function init(arguments)
   file = assert(io.open(arguments[1], "rb"))
end

function request()
   local length = file:read(4)
   if not length then
      ran_out = true
      wrk.thread:stop()
      return "GET /nothing-left HTTP/1.1\r\nHost: localhost\r\n\r\n"
   end
   local a, b, c, d = length:byte(1, 4)
   return file:read(a + 256 * (b + 256 * (c + 256 * d)))
end

function done(summary, latency, requests)
   local errors = summary.errors
   print(string.format(
      '{"answered":%d,"refused":%d,"failed":%d,"ran_out":%s,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"max_ms":%f}',
      summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
      tostring(threads[1]:get("ran_out")), summary.duration / 1e6,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
