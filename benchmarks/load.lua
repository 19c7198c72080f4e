-- wrk's script: posts prepared requests in turn, checks every answer, and prints what it counted as a line of JSON.
--
--   wrk [OPTION...] -s load.lua URL -- PATH BODIES TRUTHS PATTERN ITEMS CHECK
--
-- BODIES  a file with a body on each line
-- TRUTHS  a file with a question, a tab and its answer on each line
-- PATTERN captures question and answer from the text of an answer
-- ITEMS   how many answers each response must hold
-- CHECK   "truth" compares answers with the truth; "form" only sees that there is one to the question asked

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local headers = { ["Content-Type"] = "application/json" }
  local path, bodies, truths = args[1], args[2], args[3]
  pattern, items, check_truth = args[4], tonumber(args[5]), args[6] == "truth"
  prepared, expected, turn = {}, {}, 0
  bad_status, answers, wrong, first_wrong = 0, 0, 0, ""
  for body in io.lines(bodies) do
    prepared[#prepared + 1] = wrk.format("POST", path, headers, body)
  end
  for line in io.lines(truths) do
    local question, answer = line:match("^(.-)\t(.*)$")
    expected[question] = answer
  end
end

function request()
  turn = turn % #prepared + 1
  return prepared[turn]
end

function is_right(question, answer)
  local truth = question and (expected[question] or expected[question:gsub(" ", "")])
  return truth and (not check_truth or truth == answer or truth == answer:gsub(" ", ""))
end

function response(status, headers, body)
  if status ~= 200 then
    bad_status = bad_status + 1
    return
  end
  local found = 0
  if items == 1 then
    found = is_right(body:match(pattern)) and 1 or 0
  else
    for question, answer in body:gmatch(pattern) do
      found = found + (is_right(question, answer) and 1 or 0)
    end
  end
  answers = answers + items
  if found ~= items then
    wrong = wrong + items - found
    first_wrong = body:sub(1, 200)
  end
end

function done(summary, latency, requests)
  local counted = { bad_status = 0, answers = 0, wrong = 0 }
  local example = ""
  for _, thread in ipairs(threads) do
    for name, count in pairs(counted) do
      counted[name] = count + thread:get(name)
    end
    example = thread:get("first_wrong") or example
  end
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "bad_status": %d, "answers": %d, "wrong": %d, "failed": %d, "timed_out": %d, '
      .. '"p50_us": %d, "p90_us": %d, "p99_us": %d, "max_us": %d, "mean_us": %.1f, "example": %q}\n',
    summary.requests, summary.duration / 1e6, counted.bad_status, counted.answers, counted.wrong,
    errors.connect + errors.read + errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max, latency.mean,
    example:gsub("[^%w%p ]", " ")
  ))
end
