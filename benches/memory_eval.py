"""How well recall finds: recall@5 and mean reciprocal rank over questions with known answers,
beside plain ilike, tags only and full text only; started by benches/run.

Needs PG* (a superuser). MEMORY_EVAL names another set, MEMORY_MISSES=1 prints what was missed.

A set is JSON lines, in any order, of two forms (a line with neither key is a remark):
  {"memory": ID, "summary": TEXT, "age_days": N, "agent": NAME, "event_type": T, "outcome": O,
   "details": TEXT, "lessons": [], "tags": [], "paths": [], "supersedes": ID, "valid_days": N}
  {"question": TEXT, "tags": [], "paths": [], "expect": [ID], "kind": TEXT}
valid_days counts from today, and is negative for what has expired. Only memory, summary, question
and expect must be there; recall@5 is the share of the expected memories among the first five.
"""

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

HERE = Path(__file__).parent
SET = Path(os.environ.get("MEMORY_EVAL") or HERE / "memory_eval.jsonl")
DATABASE, REPO = "bench_memory_eval", "bench.example/acme/shop"
TARGET = 0.85


def claims(sub, role="coord_agent"):
    return json.dumps({"role": role, "sub": sub, "aud": "coord", "jti": f"jti-{sub}", "agent_type": "bench",
                       "exp": int(time.time()) + 86400})


def sql(database, text, role=None):
    env = dict(os.environ, PGDATABASE=database, PGOPTIONS=f"-c role={role}" if role else "")
    out = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"], env=env, input=text, capture_output=True, text=True)
    if out.returncode:
        sys.exit(f"{database}: {out.stderr}")
    return out.stdout.strip()


def progress(text):
    if sys.stderr.isatty():
        print(f"{text}\033[K", end="\r", file=sys.stderr, flush=True)


def literal(value):
    text = value if isinstance(value, str) else json.dumps(value)
    return "'" + text.replace("'", "''") + "'"


def create(database):
    """A database with the schema, an agent of the repository, and an operator."""
    sql("postgres", f"drop database if exists {database}")
    sql("postgres", f"create database {database}")
    subprocess.run([HERE.parent / "supabase/migrate"], env=dict(os.environ, PGDATABASE=database), check=True, stderr=subprocess.DEVNULL)
    sql(database, f"""set role coord_operator;
        select set_config('request.jwt.claims', {literal(claims('operator', 'coord_operator'))}, false);
        select coord_v1.register_agent('bench-0', 'bench', 'agent', '{{{REPO}}}')""")


def identity(label):
    return str(uuid.uuid5(uuid.NAMESPACE_URL, label))


def line(memory):
    """A memory of the set as export_memories would have written it."""
    days = lambda n: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + n * 86400))
    made = {"uid": identity(memory["memory"]), "said_by": memory.get("agent", "bench-0"), "learned_at": days(-memory.get("age_days", 0))}
    made |= {key: memory[key] for key in ("summary", "event_type", "outcome", "lessons", "tags", "paths") if key in memory}
    if memory.get("details"):
        made["details"] = [memory["details"]]
    if memory.get("supersedes"):
        made["supersedes"] = identity(memory["supersedes"])
    if "valid_days" in memory:
        made["valid_until"] = days(memory["valid_days"])
    return made


# The rivals see the same memories as plain rows, superseded ones too: they know no better.
RIVALS = """
    create table rival as
    select label, tags, age, summary || ' ' || details || ' ' || lessons || ' ' || array_to_string(paths, ' ') || ' ' || array_to_string(tags, ' ') as text
    from jsonb_to_recordset({rows}) r (label text, summary text, details text, lessons text, tags text[], paths text[], age integer)
"""
QUESTIONS = {
    "plain ilike": """select label from rival r cross join lateral (
            select count(*) as hits from regexp_split_to_table({words}, '[^[:alnum:]_]+') w where length(w) > 2 and r.text ilike '%' || w || '%') h
        where hits > 0 order by hits desc, age limit 5""",
    "tags only": """select label from rival r cross join lateral (
            select count(*) as hits from unnest(r.tags) t where t = any ({tags}::text[]) or t = any (regexp_split_to_array(lower({words}), '[^[:alnum:]_-]+'))) h
        where hits > 0 order by hits desc, age limit 5""",
    "full text only": """select label from rival r, cast(replace(plainto_tsquery('english', {words})::text, '&', '|') as tsquery) q
        where to_tsvector('english', r.text) @@ q order by ts_rank(to_tsvector('english', r.text), q) desc, age limit 5""",
}


def main():
    lines = [json.loads(text) for text in SET.read_text().splitlines() if text.strip()]
    memories = [found for found in lines if "memory" in found]
    questions = [found for found in lines if "question" in found]
    labels = {identity(memory["memory"]): memory["memory"] for memory in memories}
    gone = {memory["supersedes"] for memory in memories if memory.get("supersedes")} \
        | {memory["memory"] for memory in memories if memory.get("valid_days", 1) < 0}
    create(DATABASE)
    operator = f"select set_config('request.jwt.claims', {literal(claims('operator', 'coord_operator'))}, false);"
    # What supersedes comes after what it supersedes.
    exported = [line(memory) for memory in sorted(memories, key=lambda m: (bool(m.get("supersedes")), -m.get("age_days", 0)))]
    for first in range(0, len(exported), 200):
        sql(DATABASE, f"{operator} select coord_v1.import_memories({literal(exported[first:first + 200])}, '{REPO}')", "coord_operator")
    sql(DATABASE, f"{operator} select coord_v1.maintain(10000)", "coord_operator")
    sql(DATABASE, RIVALS.format(rows=literal([{
        "label": m["memory"], "summary": m["summary"], "details": m.get("details", ""), "lessons": " ".join(m.get("lessons", [])),
        "tags": m.get("tags", []), "paths": m.get("paths", []), "age": m.get("age_days", 0)} for m in memories])))
    sql(DATABASE, "vacuum analyze")

    asked = f"select set_config('request.jwt.claims', {literal(claims('bench-0'))}, false);"
    array = lambda texts: f"array(select jsonb_array_elements_text({literal(texts)}))" if texts else "null"
    ours = []
    for question in questions:
        ours.append(f"""select coalesce(jsonb_agg(m -> 'uid'), '[]') from jsonb_array_elements(coord_v1.recall(
            query => {literal(question["question"])}, tags => {array(question.get("tags"))}, paths => {array(question.get("paths"))},
            max_results => 5) -> 'memories') m;""")
    found = {"recall": [[labels[u] for u in json.loads(answer)] for answer in
                        sql(DATABASE, asked + "\n".join(ours), "coord_agent").splitlines()[1:]]}
    for name, query in QUESTIONS.items():
        asks = "".join(f"""select coalesce(jsonb_agg(label), '[]') from ({query.format(
            words=literal(" ".join([q["question"], *q.get("paths", [])])), tags=array(q.get("tags")))}) f;""" for q in questions)
        found[name] = [json.loads(answer) for answer in sql(DATABASE, asks).splitlines()]

    kinds = list(dict.fromkeys(q.get("kind", "all") for q in questions))
    print(f"Recall over {len(memories)} memories, {len(questions)} questions ({SET.name}): recall@5, mean reciprocal rank, gone (superseded or expired) in a top 5\n")
    print(f"{'':<22}{'recall@5':>10}{'MRR':>8}{'gone':>6}   " + "  ".join(kinds))
    for name, answers in found.items():
        share = lambda some: sum(len(set(q["expect"]) & set(a)) / len(q["expect"]) for q, a in some) / len(some)
        pairs = list(zip(questions, answers))
        mrr = sum(max((1 / (a.index(e) + 1) for e in q["expect"] if e in a), default=0) for q, a in pairs) / len(pairs)
        stale = sum(len(gone & set(a)) for a in answers)
        by_kind = [share([p for p in pairs if p[0].get("kind", "all") == kind]) for kind in kinds]
        print(f"{name:<22}{share(pairs):>10.3f}{mrr:>8.3f}{stale:>6}   " + "  ".join(f"{s:>{len(k)}.2f}" for s, k in zip(by_kind, kinds)))
    print(f"\nTargets: recall ahead of each, recall@5 at least {TARGET}, nothing superseded in any top 5.")
    if os.environ.get("MEMORY_MISSES"):
        for question, answer in zip(questions, found["recall"]):
            if set(question["expect"]) - set(answer[:5]) or answer[:1] and answer[0] not in question["expect"]:
                print(f"  {question['question']!r} {question.get('paths', '')} wants {question['expect']}, got {answer}")


if __name__ == "__main__":
    main()
