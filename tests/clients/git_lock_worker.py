"""An agent that takes and releases locks by git as fast as it can, and looks that nobody else holds them.

Every file that a lock covers has a marker that only one may make (O_EXCL) while it holds the lock. Some
calls are killed in the middle, some locks are left to expire. Fences go into a log for each file: only
the holder appends.

usage: git_lock_worker.py SETTINGS     a JSON object; prints what it counted
"""

import json
import os
import random
import signal
import subprocess
import sys
import time

settings = json.loads(sys.argv[1])
rng = random.Random(settings["seed"])
FILES = {"src/": "abcdef", "lib/": "uvwxyz"}
COVERS = {top + file: [file] for top, files in FILES.items() for file in files} | {top: list(files) + [top[:-1]] for top, files in FILES.items()}
SKEW, TTL = settings["skew"], 5
count = dict.fromkeys(["acquired", "held", "killed", "left", "took_over", "gave_up", "late"], 0)


def coord(session, *args, kill_after=None):
    env = dict(os.environ, COORD_AGENT=settings["agent"], COORD_SESSION_ID=session)
    child = subprocess.Popen([settings["coord"], "lock", *args, "--via", "git", "--json"], cwd=settings["clone"], env=env,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if kill_after is not None:
        time.sleep(kill_after)
        child.send_signal(signal.SIGKILL)
    out, err = child.communicate(timeout=120)
    if child.returncode not in (0, 1, 3, -9):
        sys.exit(f"{args}: {child.returncode} {out}{err}")
    return json.loads(out) if child.returncode in (0, 1) else None


def marker(cell):
    return os.path.join(settings["markers"], cell)


def enter(cell, fence, expires):
    for _ in range(2):
        try:
            with open(marker(cell), "x") as file:
                file.write(json.dumps({"agent": settings["agent"], "fence": fence, "expires": expires}))
            break
        except FileExistsError:
            text = open(marker(cell)).read()
            other = json.loads(text or "{}")
            # Whoever left it must be over for everybody, and have the lower fence.
            if not text or time.time() < other["expires"] + SKEW or other["fence"] >= fence:
                sys.exit(f"two holders of {cell}: {settings['agent']} with fence {fence} and {other}")
            os.unlink(marker(cell))
            count["took_over"] += 1
    else:
        sys.exit(f"two holders of {cell}, both taking it over")
    with open(marker(cell) + ".log", "a") as log:
        log.write(f"{fence}\n")


def step(number):
    session = f"{settings['agent']}-{number}"
    paths = rng.sample(list(COVERS), rng.choice([1, 1, 2]))
    kill = rng.uniform(0, settings["longest"]) if number == 1 or rng.random() < 0.05 else None
    answer = coord(session, "acquire", *paths, "--ttl", str(TTL), kill_after=kill)
    if kill is not None and answer is None:
        count["killed"] += 1
        return
    if answer is None:
        count["gave_up"] += 1
        return
    if answer["outcome"] == "held":
        assert answer["blockers"], answer
        count["held"] += 1
        time.sleep(rng.uniform(0, 0.2))
        return
    count["acquired"] += 1
    # To the second, and rounded down: a holder's own idea of its end is never too late.
    expires = time.mktime(time.strptime(answer["locks"][0]["expires_at"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    fence = answer["locks"][0]["fence"]
    if time.time() >= expires - 1:
        # A machine this busy: the lock is nearly over before it was had.
        count["late"] += 1
        return
    cells = sorted({cell for path in paths for cell in COVERS[path]})
    for cell in cells:
        enter(cell, fence, expires)
    if rng.random() < 0.03:
        count["left"] += 1
        return
    time.sleep(rng.uniform(0, 0.05))
    if time.time() >= expires - 1:
        count["late"] += 1
        return
    for cell in cells:
        os.unlink(marker(cell))
    released = coord(session, "release")
    assert released is None or released["outcome"] == "released", released


until = time.time() + settings["seconds"]
number = 0
while time.time() < until or count["acquired"] < 2:
    number += 1
    step(number)
print(json.dumps(count))
