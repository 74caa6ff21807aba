"""Runs the variants in turn and prints them side by side; started by benches/run.

Needs PG* (a superuser on the stack's database), COORD_URL, COORD_BIN, BENCH_REPO,
and BENCH_DIR with the tokens of eight agents, token-0 to token-7.
"""

import base64
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

HERE = Path(__file__).parent
DIR = Path(os.environ["BENCH_DIR"])
REPO = os.environ["BENCH_REPO"]
URL = os.environ["COORD_URL"].rstrip("/")
SECONDS = int(os.environ.get("BENCH_SECONDS", "4"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
CLIENTS = [int(n) for n in os.environ.get("BENCH_CLIENTS", "1 8").split()]
CALLS = int(os.environ.get("BENCH_BRIDGE_CALLS", "1000"))


def token(n=0):
    return (DIR / f"token-{n}").read_text().strip()


def claims():
    """The claims of the first token; @ stands for the number of the client."""
    part = token().split(".")[1]
    found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    found["sub"], found["jti"] = "bench-@", "bench-jti-@"
    return json.dumps(found)


def pgbench(script, role=None):
    def run(clients):
        env = dict(os.environ)
        if role:
            env["PGOPTIONS"] = f"-c role={role}"
        out = subprocess.run(
            ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(SECONDS),
             "-D", f"claims={claims()}", "-D", f"repo={REPO}", "-f", HERE / script],
            env=env, capture_output=True, text=True,
        )
        if out.returncode or "ERROR" in out.stderr:
            sys.exit(f"pgbench {script}:\n{out.stdout}{out.stderr}")
        return float(re.search(r"tps = ([0-9.]+)", out.stdout)[1])
    return run


def wrk(calls, keyed=False):
    def run(clients):
        env = dict(os.environ, BENCH_CALLS=calls)
        if keyed:
            env["BENCH_KEYED"] = "1"
        # A connection a thread, so that a thread's two calls follow each other.
        out = subprocess.run(
            ["wrk", "-c", str(clients), "-t", str(clients), "-d", f"{SECONDS}s", "-s", HERE / "pair.lua", URL],
            env=env, capture_output=True, text=True,
        )
        result = re.search(r"^RESULT (\d+) (\d+) (\d+) (.*)", out.stdout, re.M)
        if not result or int(result[3]):
            sys.exit(f"wrk {calls}:\n{out.stdout}{out.stderr}")
        return int(result[1]) / 2 / (int(result[2]) / 1e6)
    return run


# name, runner, what it is compared with
VARIANTS = [
    ("floor: insert + delete, each with an audit row", pgbench("floor.pgbench"), None),
    ("acquire + release in SQL", pgbench("functions.pgbench", "coord_agent"), 0),
    ("the same in PostgREST's transactions", pgbench("postgrest.pgbench"), 0),
    ("two no-op calls through PostgREST", wrk("bench_noop nothing bench_noop nothing"), None),
    ("two calls that commit one row each", wrk("bench_noop_write nothing bench_noop_write nothing"), 3),
    ("acquire + release through PostgREST", wrk("acquire_lock acquired release_lock released"), 3),
    ("the same with an Idempotency-Key", wrk("acquire_lock acquired release_lock released", keyed=True), 3),
]


def database_cpu():
    """Seconds of CPU that PostgreSQL has used so far, processes that ended included."""
    def fields(pid):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    total = sum(int(n) for n in fields(POSTMASTER)[11:15])
    for child in Path(f"/proc/{POSTMASTER}/task/{POSTMASTER}/children").read_text().split():
        try:
            total += sum(int(n) for n in fields(child)[11:13])
        except OSError:
            pass  # ended meanwhile; the postmaster has its time
    return total / os.sysconf("SC_CLK_TCK")


def psql(query):
    return subprocess.run(["psql", "-XAtc", query], check=True, capture_output=True, text=True).stdout.strip()


POSTMASTER = int((Path(psql("show data_directory")) / "postmaster.pid").read_text().split()[0])


class Rest:
    """One kept connection, no client library: its cost would be counted as PostgREST's."""

    def __init__(self):
        parts = urllib.parse.urlsplit(URL)
        self.prefix, self.host = parts.path, parts.netloc
        self.socket = socket.create_connection((parts.hostname, parts.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def call(self, function, arguments):
        body = json.dumps(arguments)
        self.socket.sendall(
            f"POST {self.prefix}/rpc/{function} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {token()}\r\n"
            f"Content-Type: application/json\r\nContent-Profile: coord_v1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        status, headers = self.file.readline(), {}
        while (line := self.file.readline().decode().strip()):
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            answer = b""
            while (size := int(self.file.readline(), 16)):
                answer += self.file.read(size)
                self.file.readline()
            self.file.readline()
        else:
            answer = self.file.read(int(headers["content-length"]))
        if b" 200 " not in status:
            sys.exit(f"{function}: {status!r} {answer!r}")
        return answer


class Bridge:
    def __init__(self):
        env = dict(os.environ, COORD_URL=URL, COORD_TOKEN=token(), COORD_REPO=REPO)
        self.process = subprocess.Popen(
            [os.environ["COORD_BIN"], "mcp"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.id = 0
        self.ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}})
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.id += 1
        self.send({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params})
        while True:
            line = self.process.stdout.readline()
            if not line:
                sys.exit("coord mcp ended")
            if f'"id":{self.id}' in line.decode().replace(" ", ""):
                return json.loads(line)

    def call(self, function, arguments):
        answer = self.ask("tools/call", {"name": function, "arguments": arguments})
        if "error" in answer or answer["result"].get("isError"):
            sys.exit(f"coord mcp: {answer}")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


def bridge():
    """p50 of one read, call about, in milliseconds: PostgREST and the bridge before it."""
    rest, mcp = Rest(), Bridge()
    times = {rest: [], mcp: []}
    arguments = {"paths": ["src/a.rs"], "repo": REPO}
    for n in range(CALLS + 50):
        for way in (rest, mcp) if n % 2 else (mcp, rest):
            begin = time.perf_counter()
            way.call("check_locks", arguments)
            if n >= 50:
                times[way].append((time.perf_counter() - begin) * 1000)
    mcp.stop()
    return statistics.median(times[rest]), statistics.median(times[mcp])


def progress(line):
    if sys.stderr.isatty():
        print(f"{line}\033[K", end="\r", file=sys.stderr, flush=True)


def main():
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", HERE / "prepare.sql"], check=True)
    version = psql("select format('PostgreSQL %s, fsync %s, synchronous_commit %s', current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'))")
    rest = Rest()
    for _ in range(100):  # until PostgREST has read its schema again
        try:
            rest.call("bench_noop", {"paths": [], "repo": REPO})
            break
        except SystemExit:
            time.sleep(0.1)
    print(f"{version}; {os.cpu_count()} cores; median of {ROUNDS} rounds of {SECONDS} s, pairs of calls a second\n", flush=True)

    rates = {(v, c): [] for v in range(len(VARIANTS)) for c in CLIENTS}
    costs = {key: [] for key in rates}
    for turn in range(ROUNDS):
        for clients in CLIENTS:
            for v, (name, run, _) in enumerate(VARIANTS):
                progress(f"  round {turn + 1} of {ROUNDS}: {clients} clients, {name}")
                before = database_cpu()
                rate = run(clients)
                rates[v, clients].append(rate)
                costs[v, clients].append((database_cpu() - before) * 1000 / (rate * SECONDS))
    progress("")

    print(" " * 48 + "".join(f"{f'{c} client' + 's' * (c > 1):>12}{'ratio':>7}{'cpu ms':>8}" for c in CLIENTS))
    for v, (name, _, base) in enumerate(VARIANTS):
        row = f"{name:<48}"
        for clients in CLIENTS:
            rate = statistics.median(rates[v, clients])
            ratio = "" if base is None else f"{rate / statistics.median(rates[base, clients]):.2f}"
            row += f"{rate:>12.0f}{ratio:>7}{statistics.median(costs[v, clients]):>8.2f}"
        print(row)
    print("\nRatios: SQL to the floor, calls through PostgREST to the two no-op calls.")
    print("cpu ms: what PostgreSQL's processes used for a pair; it tells more than a rate on a busy machine.\n")

    direct, bridged = bridge()
    print(f"check_locks, p50 of {CALLS} calls, 1 client: PostgREST {direct:.2f} ms, MCP bridge over stdio {bridged:.2f} ms: it adds {bridged - direct:.2f} ms")


if __name__ == "__main__":
    main()
