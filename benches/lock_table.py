"""The lock table under load: what a pair costs when 0, 10,000 and 100,000 locks of other
sessions live in its repository; started by benches/run.

Needs PG* (a superuser). BENCH_BASELINE is the directory of another commit's migrations:
it gets databases of its own in the same server, in the same rounds.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from side_by_side import database_cpu

HERE = Path(__file__).parent
REPO = "bench.example/acme/app"
SECONDS = int(os.environ.get("BENCH_SECONDS", "4"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
CLIENTS = [int(n) for n in os.environ.get("BENCH_CLIENTS", "1 8").split()]
LIVE = [int(n) for n in os.environ.get("BENCH_LIVE", "0 10000 100000").split()]
BASELINE = os.environ.get("BENCH_BASELINE")
SLOWER, GROWTH = 1.5, 1.3

SHAPES = {"file": ".rs", "directory": "/"}
VERSIONS = {"now": HERE.parent / "supabase/migrations"} | ({"baseline": Path(BASELINE)} if BASELINE else {})


def claims(sub, role="coord_agent"):
    return json.dumps({"role": role, "sub": sub, "aud": "coord", "jti": f"jti-{sub}", "agent_type": "bench",
                       "exp": int(time.time()) + 86400})


def sql(database, text, role=None):
    env = dict(os.environ, PGDATABASE=database)
    if role:
        env["PGOPTIONS"] = f"-c role={role}"
    out = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"], env=env, input=text, capture_output=True, text=True)
    if out.returncode:
        sys.exit(f"{database}: {out.stderr}")
    return out.stdout.strip()


def progress(line):
    if sys.stderr.isatty():
        print(f"{line}\033[K", end="\r", file=sys.stderr, flush=True)


def create(name, migrations):
    """A database with the schema, and agents whom no limit of a profile stops."""
    sql("postgres", f"create database {name}")
    env = dict(os.environ, PGDATABASE=name)
    subprocess.run([HERE.parent / "supabase/migrate", migrations], env=env, check=True, stderr=subprocess.DEVNULL)
    agents = [f"bench-{n}" for n in range(max(CLIENTS))] + [f"other-{n}" for n in range(16)]
    sql(name, f"""
        set role coord_operator;
        select set_config('request.jwt.claims', '{claims('operator', 'coord_operator')}', false);
        {"; ".join(f"select coord_v1.register_agent('{a}', 'bench', 'agent', '{{{REPO}}}')" for a in agents)};
        do $$
        begin
          if to_regproc('coord_v1.set_profile') is not null then
            perform coord_v1.set_profile('standard', '{{"trust": 2, "allowed": ["*"],
              "limits": {{"max_locks": 100000, "max_writes_per_hour": 1000000}}}}');
          end if;
        end $$""")


def prepare(version, migrations):
    """One database per load, each made from the emptier one before it."""
    previous = None
    for live in LIVE:
        name = f"bench_{version}_{live}"
        progress(f"  {name}: filling")
        if previous is None:
            create(name, migrations)
        else:
            sql("postgres", f"create database {name} template {previous}")
        # As production would come by them: in calls of 64 files of one directory, of 16 agents with
        # a session for every twenty calls, no two on one path.
        sql(name, f"""
            do $$
            declare
              v_done integer := {LIVE[LIVE.index(live) - 1] if previous else 0};
            begin
              while v_done < {live} loop
                perform set_config('request.jwt.claims', replace('{claims('other-@')}', '@', (v_done / 64 % 16)::text), true),
                  set_config('request.headers', json_build_object('x-session-id', 'session-' || v_done / 64 / 320)::text, true);
                if coord_v1.acquire_lock(
                  array(select format('src/m%s/p%s/file_%s.rs', (v_done + i) / 64 % 1000, (v_done + i) / 64000, v_done + i)
                    from generate_series(0, least(64, {live} - v_done) - 1) i),
                  repo => '{REPO}', ttl_seconds => 28800) ->> 'outcome' <> 'acquired' then
                  raise 'refused';
                end if;
                v_done := least(v_done + 64, {live});
                commit;
              end loop;
            end $$""", role="coord_agent")
        previous = name
    for live in LIVE:
        # Autovacuum gets there within a minute; without the wait.
        sql(f"bench_{version}_{live}", "vacuum analyze")


def pairs(database, end, clients):
    """Pairs a second, and milliseconds of CPU that PostgreSQL's processes used for one."""
    env = dict(os.environ, PGDATABASE=database, PGOPTIONS="-c role=coord_agent")
    for _ in range(5):
        before = database_cpu()
        out = subprocess.run(
            ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(SECONDS), "-D", f"claims={claims('bench-@')}",
             "-D", f"repo={REPO}", "-D", f"end={end}", "-f", HERE / "acquire_release.pgbench"],
            env=env, capture_output=True, text=True,
        )
        if out.returncode or "ERROR" in out.stderr:
            break
        done = int(re.search(r"processed: ([0-9]+)", out.stdout)[1])
        if done:  # else the disk stood still all the time, as it may while a checkpoint is written
            return float(re.search(r"tps = ([0-9.]+)", out.stdout)[1]), (database_cpu() - before) * 1000 / done
    sys.exit(f"{database}, {clients} clients, *{end}:\n{out.stdout}{out.stderr}")


def main():
    for version, migrations in VERSIONS.items():
        prepare(version, migrations)
    sql("postgres", "checkpoint")
    runs = [(c, s, l, v) for c in CLIENTS for s in SHAPES for l in LIVE for v in VERSIONS]
    rates, costs = {run: [] for run in runs}, {run: [] for run in runs}
    for turn in range(ROUNDS):
        # There and back again: whatever the machine does meanwhile hits both sides.
        for run in runs if turn % 2 else reversed(runs):
            clients, shape, live, version = run
            progress(f"  round {turn + 1} of {ROUNDS}: {clients} clients, {shape}, {live} live locks, {version}")
            rate, cost = pairs(f"bench_{version}_{live}", SHAPES[shape], clients)
            rates[run].append(rate)
            costs[run].append(cost)
    progress("")
    rates, costs = [{run: statistics.median(of[run]) for run in runs} for of in (rates, costs)]

    def compared(clients, shape, live, other_live, other):
        """How much slower, and how much more CPU, than another measurement."""
        run, than = (clients, shape, live, "now"), (clients, shape, other_live, other)
        return f"{rates[than] / rates[run]:>8.2f}×{costs[run] / costs[than]:>8.2f}×"

    print(f"The lock table under load: acquire + release in SQL; median of {ROUNDS} rounds of {SECONDS} s\n")
    for clients in CLIENTS:
        head = f"{f'{clients} client' + 's' * (clients > 1):<34}{'pairs/s':>8}{'cpu ms':>8}{'growth':>9}{'cpu':>9}"
        print(head + (f"{'baseline':>12}{'cpu ms':>8}{'slower':>9}{'cpu':>9}" if BASELINE else ""))
        for shape in SHAPES:
            for live in LIVE:
                run, base = (clients, shape, live, "now"), (clients, shape, live, "baseline")
                row = f"{f'one {shape}, {live:,} live locks':<34}{rates[run]:>8.0f}{costs[run]:>8.2f}"
                row += compared(clients, shape, live, LIVE[0], "now")
                if BASELINE:
                    row += f"{rates[base]:>12.0f}{costs[base]:>8.2f}" + compared(clients, shape, live, live, "baseline")
                print(row)
        print()
    print(f"Targets: growth at most {GROWTH}×" + (f", at most {SLOWER}× slower than the baseline." if BASELINE else "."))
    print("A single client waits for the disk most of the time: look at cpu, what PostgreSQL's processes used for a pair.")


if __name__ == "__main__":
    main()
