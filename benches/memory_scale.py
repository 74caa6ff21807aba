"""What recall costs with a thousand and with a million memories: p50 and p95 by how common the
words of the question are, the plan behind it, and what telling something twice costs; started by
benches/run. Needs PG* (a superuser). MEMORY_SIZES='1000 1000000', MEMORY_CALLS=40 a question.
"""

import os
import statistics
import time

from memory_eval import REPO, claims, create, literal, progress, sql

SIZES = [int(n) for n in os.environ.get("MEMORY_SIZES", "1000 1000000").split()]
CALLS = int(os.environ.get("MEMORY_CALLS", "40"))
MOST_MS, GROWTH = 50, 5

SYLLABLES = "ba be bi bo bu da de di do du ka ke ki ko ku la le li lo lu ma me mi mo mu na ne ni no nu ra re ri ro".split()

# Words by Zipf's law, as language has them: word 1 in most memories, word 40000 in few. A tenth is of
# another repository, which the agent does not see; other agents have told it all. The batch of each
# step is what housekeeping counts at once.
FILL = """
    insert into coord.memories (repo, agent, event_type, summary, details, lessons, tags, paths, outcome, learned_at, told_at, keep_until)
    select case when n % 10 = 0 then 'bench.example/acme/other' else {repo} end, 'teller-' || n % 97, (array['bugfix', 'decision', 'discovery'])[1 + n % 3],
      w.words[1] || ' ' || w.words[2] || ' ' || w.words[3] || ' ' || w.words[4] || ' ' || w.words[5] || ' ' || w.words[6],
      array[array_to_string(w.words[7:20], ' ') || ' ' || to_hex(n)], array[array_to_string(w.words[21:26], ' ')],
      array['topic' || n % 50, 'area' || n % 7], array[format('src/m%s/p%s/f%s.rs', n % 20, n % 400, n % 20000)],
      'neutral', t.at, t.at, clock_timestamp() + interval '180 days'
    from generate_series({first}, {last}) n
    cross join lateral (
      select array_agg({syllables}[1 + k % 34] || {syllables}[1 + k / 34 % 34] || {syllables}[1 + k / 1156 % 34] || 'x') as words
      from (select floor(power(40000.0, random() + 0 * n))::bigint as k from generate_series(1, 26)) z) w
    cross join lateral (select clock_timestamp() - random() * interval '150 days' as at) t
"""


def question(words):
    """Words as FILL makes them; the last letter keeps stemming and stop words out of it."""
    return " ".join(SYLLABLES[k % 34] + SYLLABLES[k // 34 % 34] + SYLLABLES[k // 1156 % 34] + "x" for k in words)


QUESTIONS = {
    "one rare word": question([30011]),
    "rare and common": question([30011, 1, 2, 3]),
    "two middling words": question([150, 300]),
    "six middling words": question([150, 300, 450, 600, 750, 900]),
    "ten middling words": question(range(120, 220, 10)),
    "the commonest word": question([1]),
    "the ten commonest": question(range(1, 11)),
    "two misspelt words": question([30011]).replace("x", "xx") + " " + question([150])[1:],
    "nothing at all": "",
    "a file": "",
    "a tag": "",
    "a type and a word": question([1]),
}
ARGUMENTS = {"a type and a word": f"query => {literal(QUESTIONS['a type and a word'])}, event_type => 'decision'", "a file": "paths => '{src/m3/p3/f3.rs}'", "a tag": "tags => '{topic7}'", "nothing at all": ""}
AS_AGENT = f"select set_config('request.jwt.claims', {literal(claims('bench-0'))}, false);"


def call(name):
    given = ARGUMENTS.get(name, f"query => {literal(QUESTIONS[name])}")
    return f"coord_v1.recall({given})"


def measure(database, name):
    out = sql(database, f"{AS_AGENT} select {call(name)} is null;\n\\timing on\n" + f"select {call(name)} is null;\n" * CALLS, "coord_agent")
    times = sorted(float(line.split()[1]) for line in out.splitlines() if line.startswith("Time:"))[:-1 or None]
    return statistics.median(times), times[int(len(times) * 0.95) - 1]


def fill(database, size):
    for first in range(1, size + 1, 50000):
        progress(f"  {database}: {first - 1} of {size} memories")
        sql(database, "set role coord_janitor; " + FILL.format(repo=literal(REPO), syllables=f"('{{{','.join(SYLLABLES)}}}'::text[])", first=first, last=min(first + 49999, size)))
    progress(f"  {database}: counting their terms")
    # Housekeeping, without waiting for its rounds.
    sql(database, f"set role coord_janitor; do $$ begin while (coord.tidy_memories(50000) ->> 'memories_counted')::integer > 0 loop commit; end loop; end $$")
    sql(database, "vacuum analyze coord.memories; vacuum analyze coord.memory_words")


def main():
    found = {}
    for size in SIZES:
        database = f"bench_memory_{size}"
        # MEMORY_KEEP=1 measures databases that an earlier run filled.
        if os.environ.get("MEMORY_KEEP") is None or sql("postgres", f"select count(*) from pg_database where datname = '{database}'") == "0":
            create(database)
            began = time.time()
            fill(database, size)
            progress(f"  {database}: filled in {time.time() - began:.0f} s")
        for name in QUESTIONS:
            found[size, name] = measure(database, name)
    progress("")
    print(f"recall, {CALLS} calls each, in ms: " + ", ".join(f"{size} memories p50 p95" for size in SIZES) + ", p95 against the fewest\n")
    for name in QUESTIONS:
        row = [found[size, name] for size in SIZES]
        print(f"{name:<22}" + "".join(f"{p50:>9.1f}{p95:>9.1f}" for p50, p95 in row) + f"{row[-1][1] / row[0][1]:>8.1f}×")
    print(f"\nTargets: p95 at most {MOST_MS} ms for any question; at most {GROWTH}× where the rarest word is in at most 1,000 memories.\n")

    largest = f"bench_memory_{SIZES[-1]}"
    print("How candidates are found (as coord_janitor, as memory_candidates does):\n")
    scope = f"coord.any_of('{{@*,@{REPO}}}')"
    print(sql(largest, f"""set role coord_janitor; explain (analyze, costs off, timing off, summary off)
        select m.number from coord.memories m
        where m.terms @@ ({scope} && coord.any_of('{{{question([30011])}}}')) and m.archived_at is null order by m.number desc limit 1000"""))
    print("\nHow a second telling is noticed (as coord_owner, under row-level security):\n")
    print(sql(largest, f"""set role coord_owner; select set_config('coord.repos', {literal(REPO)}, false), set_config('request.jwt.claims', {literal(claims('bench-0'))}, false);
        explain (analyze, costs off, timing off, summary off)
        select * from coord.memories m where m.fingerprint = coord.fingerprint('bench-0', {literal(REPO)}, 'episodic', 'bugfix', 'twice')
          and m.learned_at > clock_timestamp() - interval '1 hour' and m.superseded_by is null and m.archived_at is null
        order by m.learned_at desc limit 1""").split("\n", 1)[1])


if __name__ == "__main__":
    main()
