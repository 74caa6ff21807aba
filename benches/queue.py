"""The work queue side by side: one task claimed and completed, durable, ours beside pgmq (read
and delete), graphile-worker, pg-boss and a bare update … for update skip locked; with few and
with 100,000 pending tasks, and with 1,000,000 finished ones; started by benches/run.

Needs PG* (a superuser). The others are installed by name into a cache outside the tree
(COORD_BENCH_CACHE). All run in the same pgbench: graphile-worker and pg-boss with the very SQL
that their clients send, so nobody is charged for a client in JavaScript. Then the same one at a
time with their own clients, as an application has it, and ours through PostgREST.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from lock_table import HERE, REPO, ROUNDS, SECONDS, claims, progress, sql
from side_by_side import URL, database_cpu, token

CLIENTS = [int(n) for n in os.environ.get("BENCH_CLIENTS", "1 8 16").split()]
# finished, pending
LOADS = [(0, 40_000), (0, 100_000), (1_000_000, 100_000)]
GROWTH = 1.3
VERSIONS = {"pgmq": "1.1.4", "graphile-worker": "0.17.3", "pg-boss": "10.4.2", "pg": "8.23.1", "node": "22.23.3"}

OURS, FLOOR = "ours", "bare update"


def packages():
    """Where the others are, or None with a word about what is missing."""
    cache = os.environ.get("COORD_BENCH_CACHE") or os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")) + "/coord-bench"
    there = Path(cache) / ("queue-" + "-".join(VERSIONS.values()))
    if not there.exists():
        Path(cache).mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=cache, prefix="installing."))
        node = [f"{name}@{version}" for name, version in VERSIONS.items() if name != "pgmq"]
        for command in (
            ["npm", "install", "--prefix", aside, "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel", "error", *node],
            [sys.executable, "-m", "venv", aside / "python"],
            # Its SQL is all that is wanted of it.
            [aside / "python/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--target", aside / "pgmq", f"pgmq=={VERSIONS['pgmq']}"],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"missing: {command[0]} failed, so only ours and the bare update are measured\n{done.stderr}")
                return None
        aside.rename(there)
    return there


def literal(value):
    if value is None:
        return "null"
    if isinstance(value, list):
        value = "{" + ",".join(map(str, value)) + "}"
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def as_pgbench(name, pair, directory):
    """A script of what a client sent for a claim and for its completion, with the job's id for its own."""
    texts = []
    for turn, (text, values) in enumerate(pair):
        text = re.sub(r"--.*", "", text)
        for at, value in reversed(list(enumerate(values, 1))):
            job = turn == 1 and at == (2 if name == "pg-boss" else 1)
            given = (":id" if name != "pg-boss" else "array[:id]") if job else literal(value)
            text = text.replace(f"${at}", given)
        texts.append(re.sub(r"\s*\n\s*", "\n", text.strip().rstrip(";")))
    file = directory / f"{name}.pgbench"
    file.write_text(f"{texts[0]}\n\\gset\n{texts[1]};\n")
    return file


def install(database, there, directory):
    """All queues in one database; gives their scripts."""
    sql("postgres", f"create database {database}")
    env = dict(os.environ, PGDATABASE=database)
    subprocess.run([HERE.parent / "supabase/migrate", HERE.parent / "supabase/migrations"], env=env, check=True, stderr=subprocess.DEVNULL)
    agents = [f"bench-{n}" for n in range(max(CLIENTS))]
    sql(database, f"""
        set role coord_operator;
        select set_config('request.jwt.claims', '{claims('operator', 'coord_operator')}', false);
        {"; ".join(f"select coord_v1.register_agent('{a}', 'bench', 'agent', '{{{REPO}}}')" for a in agents)};
        select coord_v1.set_profile('standard', '{{"trust": 2, "allowed": ["*"], "limits": {{"max_writes_per_hour": 1000000}}}}')""")
    sql(database, """
        create table bench_jobs (
          id bigint generated always as identity primary key, state text not null default 'pending', payload jsonb not null,
          run_at timestamptz not null default now(), attempts integer not null default 0, worker integer, locked_at timestamptz, done_at timestamptz
        ) with (fillfactor = 70);
        create index bench_jobs_pending on bench_jobs (run_at, id) where state = 'pending'""")
    scripts = {OURS: HERE / "queue_ours.pgbench", FLOOR: HERE / "queue_floor.pgbench"}
    if there:
        sql(database, (there / "pgmq/pgmq/sql/pgmq.sql").read_text() + "; select pgmq.create('bench')")
        scripts["pgmq, read + delete"] = HERE / "queue_pgmq.pgbench"
        sent = subprocess.run([there / "node_modules/.bin/node", HERE / "queue.mjs", there], env=env, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        for name, pair in json.loads(sent):
            scripts[name] = as_pgbench(name, pair, directory)
    return scripts


# How many are pending, and how more are made: as the queue's own functions would leave them.
TASK = f"""gen_random_uuid(), nextval('coord.task_numbers'), '{REPO}', 'task', 'a task of many', jsonb_build_object('n', n), 5, 1,
  array[]::text[], array[]::text[], array[]::text[], array[]::text[]"""
COLUMNS = "id, number, repo, task_type, title, input, priority, min_trust, capabilities, agent_types, not_agents, only_agents"
REST = "depends_on, on_dependency_failure, max_attempts, submitted_by, submitted_at"
QUEUES = {
    OURS: ("select count(*) from coord.tasks", f"""
        insert into coord.tasks ({COLUMNS}, {REST}, turn_at, lane)
        select {TASK}, array[]::bigint[], 'fail', 3, 'bench-0', clock_timestamp(), clock_timestamp() + interval '50 minutes',
          md5(jsonb_build_array('task', 1, '[]'::jsonb, '[]'::jsonb, '[]'::jsonb, '[]'::jsonb)::text)::uuid"""),
    FLOOR: ("select count(*) from bench_jobs where state = 'pending'",
            "insert into bench_jobs (payload) select jsonb_build_object('n', n)"),
    "pgmq, read + delete": ("select count(*) from pgmq.q_bench",
                            "insert into pgmq.q_bench (vt, message) select clock_timestamp(), jsonb_build_object('n', n)"),
    "graphile-worker": ("select count(*) from graphile_worker._private_jobs",
                        "insert into graphile_worker._private_jobs (task_id, payload) select 1, json_build_object('n', n)"),
    "pg-boss": ("select count(*) from pgboss.job where name = 'bench' and state < 'active'",
                "insert into pgboss.job (name, data, policy) select 'bench', jsonb_build_object('n', n), 'standard'"),
}
# What each keeps of those that ended: pgmq and graphile-worker delete them.
FINISHED = {
    OURS: f"""
        insert into coord.past_tasks ({COLUMNS}, {REST}, attempt, failures, history, agent, agent_type, session_id, claimed_at, state, finished_at, result)
        select {TASK}, array[]::bigint[], 'fail', 3, 'bench-0', t, 1, 0, '[]', 'bench-0', 'bench', 's', t, 'completed', t, jsonb_build_object('n', n)
        from generate_series(1, {{0}}) n, lateral (select clock_timestamp() - interval '30 days' + n * interval '1 second') m (t)""",
    FLOOR: "insert into bench_jobs (payload, state, done_at) select jsonb_build_object('n', n), 'done', now() from generate_series(1, {0}) n",
    "pg-boss": """
        insert into pgboss.job (name, data, policy, state, started_on, completed_on)
        select 'bench', jsonb_build_object('n', n), 'standard', 'completed', now(), now() from generate_series(1, {0}) n""",
}


def fill(database, queue, pending):
    count, insert = QUEUES[queue]
    missing = pending - int(sql(database, count))
    if missing > 0:
        sql(database, f"{insert} from generate_series(1, {missing}) n")


def pairs(database, queue, script, clients):
    """Pairs a second, and milliseconds of CPU that PostgreSQL's processes used for one."""
    env = dict(os.environ, PGDATABASE=database, **({"PGOPTIONS": "-c role=coord_agent"} if queue == OURS else {}))
    before = database_cpu()
    out = subprocess.run(
        ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(SECONDS), "-D", f"claims={claims('bench-@')}",
         "-D", f"repo={REPO}", "-f", script], env=env, capture_output=True, text=True)
    done = int((re.search(r"processed: ([0-9]+)", out.stdout) or ["", "0"])[1])
    if out.returncode or not done or "ERROR" in out.stderr:
        sys.exit(f"{database}, {queue}, {clients} clients:\n{out.stdout}{out.stderr}")
    return float(re.search(r"tps = ([0-9.]+)", out.stdout)[1]), (database_cpu() - before) * 1000 / done


def through_clients(there, database, queue):
    """Pairs a second of one worker that does one after another."""
    if queue == OURS:
        database = os.environ["PGDATABASE"]
    fill(database, queue, LOADS[0][1])
    env = dict(os.environ, PGDATABASE=database, BENCH_URL=URL, BENCH_TOKEN=token())
    out = subprocess.run([there / "node_modules/.bin/node", HERE / "queue_clients.mjs", there, queue, str(SECONDS)],
                         env=env, check=True, capture_output=True, text=True).stdout
    return float(out)


def main():
    there = packages()
    scripts, previous = None, None
    directory = Path(tempfile.mkdtemp(dir=os.environ["BENCH_DIR"]))
    names = {load: f"bench_queue_{n}" for n, load in enumerate(LOADS)}
    for (finished, pending), name in names.items():
        progress(f"  {name}: filling")
        if previous is None:
            scripts = install(name, there, directory)
        else:
            sql("postgres", f"create database {name} template {previous}")
        for queue in scripts:
            if finished and queue in FINISHED:
                sql(name, FINISHED[queue].format(finished))
            fill(name, queue, pending)
        previous = name
    for name in names.values():
        # Autovacuum gets there within a minute; without the wait.
        sql(name, "vacuum analyze")
    sql("postgres", "checkpoint")
    runs = [(clients, load, queue) for clients in CLIENTS for load in LOADS for queue in scripts]
    rates, costs = {run: [] for run in runs}, {run: [] for run in runs}
    for turn in range(ROUNDS):
        # There and back again: whatever the machine does meanwhile hits all of them.
        for clients, load, queue in runs if turn % 2 else reversed(runs):
            progress(f"  round {turn + 1} of {ROUNDS}: {clients} clients, {queue}, {load[0]} finished, {load[1]} pending")
            fill(names[load], queue, load[1])
            rate, cost = pairs(names[load], queue, scripts[queue], clients)
            rates[clients, load, queue].append(rate)
            costs[clients, load, queue].append(cost)
    by_client = {queue: [] for queue in (OURS, "graphile-worker", "pg-boss") if there}
    for turn in range(ROUNDS):
        for queue in by_client:
            progress(f"  round {turn + 1} of {ROUNDS}: {queue}, through its client")
            by_client[queue].append(through_clients(there, names[LOADS[0]], queue))
    progress("")
    rates, costs = [{run: statistics.median(of[run]) for run in runs} for of in (rates, costs)]

    durable = sql("postgres", "select format('fsync %s, synchronous_commit %s', current_setting('fsync'), current_setting('synchronous_commit'))")
    print(f"The work queue: a task claimed and completed, two transactions, {durable}; median of {ROUNDS} rounds of {SECONDS} s\n")
    for clients in CLIENTS:
        for load in LOADS:
            head = f"{clients} client{'s' * (clients > 1)}, {load[0]:,} finished, {load[1]:,} pending"
            print(f"{head:<52}{'pairs/s':>8}{'cpu ms':>8}{'ours is':>10}{'growth':>9}{'cpu':>9}")
            for queue in scripts:
                run, first = (clients, load, queue), (clients, LOADS[0], queue)
                ours = f"{rates[clients, load, OURS] / rates[run]:.2f}×" if queue != OURS else ""
                print(f"  {queue:<50}{rates[run]:>8.0f}{costs[run]:>8.2f}{ours:>10}{rates[first] / rates[run]:>8.2f}×{costs[run] / costs[first]:>8.2f}×")
            print()
    if there:
        print(f"{'Through their own clients, one after another':<52}{'pairs/s':>8}{'ours is':>18}")
        by_client = {queue: statistics.median(found) for queue, found in by_client.items()}
        for queue, rate in by_client.items():
            ours = f"{by_client[OURS] / rate:.2f}×" if queue != OURS else ""
            print(f"  {queue + (', by HTTP' if queue == OURS else ''):<50}{rate:>8.0f}{ours:>18}")
        print()
    print("ours is: how many times as fast as that one. growth: how much slower than with the first load, and how much more CPU.")
    print(f"Targets: faster than graphile-worker and pg-boss one at a time, level with pgmq; growth at most {GROWTH}×.")
    print("Only ours knows who calls, checks what it may do, keeps an audit and dependencies, and survives a dead worker by itself.")
    print("A few clients wait for the disk most of the time: look at cpu, what PostgreSQL's processes used for a pair.")


if __name__ == "__main__":
    main()
