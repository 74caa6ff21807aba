#!/usr/bin/env python3
"""Measures the guardrails on labelled commands: recall, precision, and harmless ones flagged.

Reads `label<TAB>domain[/hardneg]<TAB>command<TAB>…` (GUARD_CORPUS, by default beside the
repository) and judges all of it in one psql session, as a database of PG* sees it, with no
server and nothing recorded. Flagged is what would be asked about or denied.

    guard_score.py [--half 0|1] [--wrong [DOMAIN]] [--times]
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPUS = Path(os.environ.get("GUARD_CORPUS", HERE.parent / "../shared/guardrail_corpus/dev.tsv"))
ROOT = "/home/dev/project"
PROFILE, TRUST = "claude-code-cli", 2
GROUPS = (
    ("git + fs + exec", ("git", "fs", "exec")),
    ("git", ("git",)),
    ("fs", ("fs",)),
    ("exec", ("exec",)),
    ("secrets", ("secrets",)),
    ("infra", ("infra",)),
    ("other", ("other",)),
)
# One line in, one line out: neither a command nor an answer holds a line break then.
JUDGE = f"""
create temp table given (n bigint generated always as identity, line text);
\\copy given (line) from pstdin with (format csv, delimiter E'\\x01', quote E'\\x02')
select jsonb_build_object('a', coord.judge(line::jsonb #>> '{{}}', '{PROFILE}', {TRUST}, 'enforce', '{ROOT}', '{ROOT}'),
  'us', extract(epoch from clock_timestamp() - began) * 1000000)
from (select g.*, clock_timestamp() as began from given g order by n offset 0) g;
"""


def unescaped(text):
    out, escape = [], False
    for char in text:
        if escape:
            out.append({"n": "\n", "t": "\t", "r": "\r"}.get(char, char))
            escape = False
        elif char == "\\":
            escape = True
        else:
            out.append(char)
    return "".join(out)


def corpus():
    rows = []
    with CORPUS.open(encoding="utf-8") as lines:
        for line in lines:
            label, domain, command = line.rstrip("\n").split("\t")[:3]
            domain, _, kind = domain.partition("/")
            rows.append((label, domain, kind == "hardneg", unescaped(command)))
    return rows


def judged(commands):
    """One answer for each command, from one session."""
    lines = "".join(json.dumps(command) + "\n" for command in commands)
    out = subprocess.run(
        ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", f"/dev/fd/{script()}"],
        input=lines, capture_output=True, text=True, check=False, close_fds=False,
    )
    if out.returncode != 0:
        sys.exit(out.stderr.strip())
    return [json.loads(line) for line in out.stdout.splitlines()]


def script():
    """A descriptor to read the SQL from, so that standard input is free for the data."""
    read, write = os.pipe()
    os.write(write, JUDGE.encode())
    os.close(write)
    os.set_inheritable(read, True)
    return read


def half(command):
    return hashlib.sha256(command.encode()).digest()[0] % 2


def percent(part, whole):
    return f"{part / whole:.3f}" if whole else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--half", type=int, choices=(0, 1), help="only this half of the corpus, by hash")
    parser.add_argument("--wrong", nargs="?", const="", metavar="DOMAIN", help="list what was judged wrongly")
    parser.add_argument("--times", action="store_true", help="how long commands of up to 300 bytes took")
    args = parser.parse_args()
    if not CORPUS.exists():
        print(f"guard-score: no corpus at {CORPUS}; name one with GUARD_CORPUS=FILE")
        return
    rows = [row for row in corpus() if args.half is None or half(row[3]) == args.half]
    answers = judged([row[3] for row in rows])
    flagged = [answer["a"]["decision"] in ("ask", "deny") for answer in answers]
    print(f"{'domain':<16} {'block':>6} {'allow':>6} {'recall':>7} {'precision':>10} {'harmless flagged':>17}")
    for name, domains in GROUPS:
        here = [(row, flag) for row, flag in zip(rows, flagged) if row[1] in domains]
        block = [flag for row, flag in here if row[0] == "block"]
        allow = [flag for row, flag in here if row[0] == "allow"]
        hard = [flag for row, flag in here if row[0] == "allow" and row[2]]
        print(f"{name:<16} {len(block):>6} {len(allow):>6} {percent(sum(block), len(block)):>7} "
              f"{percent(sum(block), sum(block) + sum(allow)):>10} {sum(hard):>8} of {len(hard)}")
    if args.times:
        times = sorted(a["us"] / 1000 for a, row in zip(answers, rows) if len(row[3].encode()) <= 300)
        print(f"judging, ms: p50 {times[len(times) // 2]:.2f}  p99 {times[int(len(times) * 0.99)]:.2f}  max {times[-1]:.2f}")
    if args.wrong is not None:
        for row, answer, flag in zip(rows, answers, flagged):
            if flag != (row[0] == "block") and args.wrong in ("", row[1]):
                rules = ",".join(v["rule"] for v in answer["a"]["violations"])
                print(f"{row[0]:<5} {row[1]:<7} {row[3]!r}  {rules}")


if __name__ == "__main__":
    main()
