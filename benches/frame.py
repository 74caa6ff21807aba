"""What the frame of a command adds: a pair with and without authorization, limits and audit, and
with a million rows of audit; started by benches/run. Needs PG* (a superuser).
"""

import statistics

from lock_table import CLIENTS, HERE, ROUNDS, SECONDS, create, pairs, progress, sql

MIGRATIONS = HERE.parent / "supabase/migrations"
COST = 1.35
# The same functions without what is measured.
BARE = """
    create or replace function coord.admit_call(p_call coord.call) returns coord.call
    language plpgsql as $$ begin return p_call; end $$;
    create or replace function coord.count_write(p_agent text) returns void
    language plpgsql as $$ begin end $$;
    create or replace function coord.write_audit(p_call coord.call, p_outcome text, p_reason text, p_detail jsonb) returns void
    language plpgsql as $$ begin end $$;
"""
MILLION = """
    with made as (
      select nextval('coord.audit_ids') as id, clock_timestamp() as at, format('bench-%s', n % 8) as agent,
        uuid_send(gen_random_uuid()) as salt, jsonb_build_object('args', jsonb_build_object('paths', jsonb_build_array('src/f' || n))) as content
      from generate_series(1, 1000000) n
    ),
    told as (
      insert into coord.audit_details (id, at, agent, salt, content) select id, at, agent, salt, content from made
    )
    insert into coord.audit_log (id, at, agent, agent_type, role, session_id, token_id, function, repo, outcome, duration_us, details_hash)
    select id, at, agent, 'bench', 'coord_agent', 's', 't', 'acquire_lock', 'bench.example/acme/app', 'acquired', 1000,
      sha256(salt || convert_to(content::text, 'UTF8')) from made
"""


def main():
    for name, change in (("whole", None), ("bare", BARE), ("million", MILLION)):
        progress(f"  bench_frame_{name}: making")
        create(f"bench_frame_{name}", MIGRATIONS)
        if change:
            sql(f"bench_frame_{name}", change)
        sql(f"bench_frame_{name}", "vacuum analyze")
    sql("postgres", "checkpoint")
    runs = [(clients, name) for clients in CLIENTS for name in ("bare", "whole", "million")]
    rates, costs = {run: [] for run in runs}, {run: [] for run in runs}
    for turn in range(ROUNDS):
        for clients, name in runs if turn % 2 else reversed(runs):
            progress(f"  round {turn + 1} of {ROUNDS}: {clients} clients, {name}")
            rate, cost = pairs(f"bench_frame_{name}", ".rs", clients)
            rates[clients, name].append(rate)
            costs[clients, name].append(cost)
    progress("")
    rates, costs = [{run: statistics.median(of[run]) for run in runs} for of in (rates, costs)]
    print(f"The frame of a command: acquire + release in SQL, durable; median of {ROUNDS} rounds of {SECONDS} s\n")
    labels = {"bare": "without", "whole": "authorization, limits, audit", "million": "the same, 1,000,000 audit rows"}
    for clients in CLIENTS:
        print(f"{f'{clients} client' + 's' * (clients > 1):<34}{'pairs/s':>8}{'cpu ms':>8}{'slower':>9}{'cpu':>9}")
        for name, label in labels.items():
            run, than = (clients, name), (clients, "whole" if name == "million" else "bare")
            print(f"{label:<34}{rates[run]:>8.0f}{costs[run]:>8.2f}{rates[than] / rates[run]:>8.2f}×{costs[run] / costs[than]:>8.2f}×")
        print()
    print(f"Targets at {max(CLIENTS)} clients: the frame at most {COST}× slower than without; a million rows no slower than none.")


if __name__ == "__main__":
    main()
