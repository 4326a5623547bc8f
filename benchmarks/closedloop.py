"""A closed loop of clients, by wrk: each asks again as soon as it is answered."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time
from pathlib import Path

WARM = 1.0  # seconds before answers are counted
FORGET = 1.2  # seconds until a server has forgotten those who hung up before, which a slow model's queue has hardly any room for

# What is counted is what arrives in a span of time that begins and ends while the clients ask. wrk's own rate is what is answered until
# its time is up, without what a server has begun by then: batches of a slow model.
_SCRIPT = """
local ffi = require("ffi")
ffi.cdef("typedef struct {{ long s, ns; }} moment; int clock_gettime(int, moment *);")
local moment = ffi.new("moment[1]")
local function now()
  ffi.C.clock_gettime(1, moment)
  return tonumber(moment[0].s) + tonumber(moment[0].ns) / 1e9
end
local file = io.open("{body}", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "{kind}"
file:close()
local threads = {{}}
function setup(thread) table.insert(threads, thread) end
function init()
  answered, start = 0, now() + {warm}
end
function response()
  local since = now() - start
  if since >= 0 and since < {seconds} then answered = answered + 1 end
end
function done(summary, latency)
  local bad = summary.errors
  bad = bad.status + bad.timeout + bad.connect + bad.read + bad.write
  io.write(string.format("answered %d p50 %f bad %d\\n", threads[1]:get("answered"), latency:percentile(50) / 1e3, bad))
end
"""


def wrk(url: str, body: Path, concurrency: int, *, seconds: float, kind: str = "image/jpeg") -> tuple[float, float]:
    """Return answers a second to a body that is posted, and the median latency in ms. Whatever isn't a 200 ends the program."""
    time.sleep(FORGET)
    script = body.with_suffix(".lua")
    script.write_text(_SCRIPT.format(body=body, kind=kind, warm=WARM, seconds=seconds))
    duration = f"-d{math.ceil(WARM + seconds) + 1}s"
    words = ["wrk", "-t1", f"-c{concurrency}", duration, "--timeout", "30s", "-s", str(script), url]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found = re.search(r"answered (\d+) p50 ([\d.]+) bad (\d+)", out)
    if found is None or int(found[3]):
        sys.exit(f"wrk met errors at {url}:\n{out}")
    return int(found[1]) / seconds, float(found[2])
