-- For wrk, one connection a thread: two calls in turn for one path, checked.
-- BENCH_CALLS names them with what their answers must contain.
local first, first_wanted, second, second_wanted =
  os.getenv("BENCH_CALLS"):match("^(%S+) (%S+) (%S+) (%S+)$")
local repo, dir, keyed = os.getenv("BENCH_REPO"), os.getenv("BENCH_DIR"), os.getenv("BENCH_KEYED")
local threads = {}

function setup(thread)
  thread:set("id", #threads)
  table.insert(threads, thread)
end

function init()
  local file = assert(io.open(dir .. "/token-" .. id))
  token = file:read("*l")
  file:close()
  math.randomseed(os.time() * 8 + id)
  answers, bad, example = 0, 0, ""
end

function request()
  -- Whose turn it is follows from the answers: wrk makes a request or two only to look at.
  local call = answers % 2 == 0 and first or second
  if answers % 2 == 0 then
    local n = math.random(1, 1000000000)
    path = ("src/m%d/f%d-%d.rs"):format(n % 1000, n, id)
  end
  local headers = {
    ["Authorization"] = "Bearer " .. token,
    ["Content-Type"] = "application/json",
    ["Content-Profile"] = "coord_v1",
  }
  if keyed then
    headers["Idempotency-Key"] = ("%d-%d-%d"):format(id, answers, math.random(1, 1000000000))
  end
  return wrk.format("POST", "/rpc/" .. call, headers, ('{"paths":["%s"],"repo":"%s"}'):format(path, repo))
end

function response(status, headers, body)
  local wanted = answers % 2 == 0 and first_wanted or second_wanted
  answers = answers + 1
  if status ~= 200 or not body:find('"' .. wanted .. '"', 1, true) then
    bad = bad + 1
    example = status .. " " .. body
  end
end

function done(summary, latency)
  local wrong = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  local example = ""
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("bad")
    if thread:get("example") ~= "" then example = thread:get("example") end
  end
  io.write(("RESULT %d %d %d %s\n"):format(summary.requests, summary.duration, wrong, example))
end
