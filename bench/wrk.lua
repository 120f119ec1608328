-- Prints what a run of wrk measured as one line of JSON. Defines nothing that wrk would
-- call for each request, so it costs the load generator nothing.
function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"durationUs":%d,"p99Us":%d,' ..
    '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.duration,
    latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
