"""One agent of tests/locks.rs or tests/fleet.rs in a process of its own: locks and releases over one HTTP connection.

lock_worker.py MODE SETTINGS, where SETTINGS is a JSON object. What it did and was told goes to
standard output as JSON lines; their times are CLOCK_MONOTONIC, which all processes of a machine
share. `until` and `rounds` of the settings are seconds since 1970.

MODE is `hammer` (one path, over and over), `batches` (random sets of paths in random order), `churn`
(random calls of the `functions` of the settings, for many paths), `duplicates` (the same call under
the same Idempotency-Key as all the others, at the same moment), `fleet` (everything that an agent may
do, in two repositories), `undertaker` (an operator who breaks what the dead sessions named on standard
input hold), `hold` (a lock, released when standard input says so) or `wait` (in line, for ever).

With `mortal` in the settings each call is announced by a line of its own: who reads this after the
process was killed knows what it was about to do.
"""

import http.client
import json
import random
import sys
import time
from urllib.parse import urlsplit


class Agent:
    def __init__(self, settings):
        self.headers = {
            "Authorization": "Bearer " + settings["token"],
            "Content-Type": "application/json",
            "Content-Profile": "coord_v1",
        }
        if settings.get("session"):
            self.headers["X-Session-Id"] = settings["session"]
        self.repo = settings["repo"]
        self.mortal = settings.get("mortal")
        self.http = http.client.HTTPConnection(urlsplit(settings["url"]).netloc, timeout=60)

    def call(self, function, key=None, **args):
        """Calls, writes a line about it, and gives the answer."""
        headers = self.headers | ({"Idempotency-Key": key} if key else {})
        everywhere = function in ("end_session", "cancel_wait")
        body = json.dumps(args if everywhere else {"repo": self.repo} | args)
        line = {"call": function, "args": args, "sent": time.monotonic()}
        if self.mortal:
            print(json.dumps(line), flush=True)
        self.http.request("POST", "/rpc/" + function, body, headers)
        response = self.http.getresponse()
        text = response.read()
        line |= {"got": time.monotonic(), "status": response.status, "answer": json.loads(text)}
        print(json.dumps(line), flush=self.mortal)
        return line["answer"]


def hammer(agent, settings, dice):
    while time.time() < settings["until"]:
        answer = agent.call("acquire_lock", paths=[settings["path"]], reason="hammering")
        if answer.get("outcome") == "acquired":
            time.sleep(dice.uniform(0, 0.005))
            agent.call("release_lock", paths=[settings["path"]])
        else:
            time.sleep(dice.uniform(0, 0.02))


def batches(agent, settings, dice):
    while time.time() < settings["until"]:
        paths = dice.sample(settings["paths"], dice.randint(2, 5))
        mode = dice.choice(["exclusive", "exclusive", "shared"])
        agent.call("acquire_lock", paths=paths, mode=mode, ttl_seconds=dice.randint(30, 90))
        if dice.random() < 0.3:
            agent.call("release_lock", paths=dice.sample(settings["paths"], 3))
        elif dice.random() < 0.7:
            agent.call("release_lock")
    agent.call("release_lock")


def churn(agent, settings, dice):
    while time.time() < settings["until"]:
        some = {"paths": dice.sample(settings["paths"], dice.randint(1, len(settings["paths"])))}
        args = {
            "acquire_lock": some,
            "release_lock": dice.choice([some, {}]),
            "force_release_lock": some | {"reason": "churning"},
            "end_session": {},
        }
        function = dice.choice(settings["functions"])
        agent.call(function, **args[function])


def duplicates(agent, settings, dice):
    del dice
    for number, at in enumerate(settings["rounds"]):
        time.sleep(max(0, at - time.time()))
        agent.call("acquire_lock", key=f"round-{number}", paths=[f"round-{number}.rs", "all.rs"])


def fleet(agent, settings, dice):
    while time.time() < settings["until"]:
        ask = {
            "repo": dice.choice(settings["repos"]),
            "paths": dice.sample(settings["paths"], dice.choice([1, 1, 1, 1, 2, 2, 3, 4])),
            "mode": dice.choice(["exclusive", "exclusive", "shared"]),
            "ttl_seconds": 30,
        }
        if dice.random() < 0.6:
            ask["wait_seconds"] = dice.choice([1, 3, 20])
        # The same in both repositories is two requests.
        repos = settings["repos"] if dice.random() < 0.3 else [ask["repo"]]
        answers = {it: agent.call("acquire_lock", **ask | {"repo": it}) for it in repos}
        patience = dice.randint(1, 30)
        while time.time() < settings["until"]:
            waiting = [it for it in repos if answers[it].get("outcome") == "queued"]
            if not waiting:
                break
            patience -= 1
            if patience == 0:
                end = dice.random()
                for repo in waiting:
                    if end < 0.4:
                        agent.call("cancel_wait", ticket=answers[repo]["ticket"])
                    elif end < 0.7:
                        agent.call("release_lock", repo=repo, paths=ask["paths"][:1])
                    elif end < 0.95:
                        agent.call("release_lock", repo=repo)
                # Else its ticket stands in the way until it lapses.
                break
            time.sleep(dice.uniform(0.02, 0.2))
            repo = dice.choice(waiting)
            answers[repo] = agent.call("acquire_lock", **ask | {"repo": repo})
        answer = answers[ask["repo"]]
        if answer.get("outcome") == "acquired":
            time.sleep(dice.uniform(0, 0.1))
            if dice.random() < 0.3:
                agent.call("acquire_lock", **ask)
        # What is kept is asked beside: that is how circles come about.
        fate = dice.random()
        if fate < 0.15:
            agent.call("release_lock", repo=ask["repo"], paths=dice.sample(settings["paths"], 3))
        elif fate < 0.65:
            agent.call("release_lock", repo=ask["repo"])
        elif fate < 0.7:
            agent.call("end_session")
        elif answer.get("outcome") == "deadlock":
            for repo in settings["repos"]:
                agent.call("release_lock", repo=repo)
    for repo in settings["repos"]:
        agent.call("release_lock", repo=repo)


def undertaker(agent, settings, dice):
    del dice
    for line in sys.stdin:
        # What was under way when the session died has been done.
        time.sleep(0.5)
        for repo in settings["repos"]:
            locks = agent.call("check_locks", repo=repo)["locks"]
            paths = [it["path"] for it in locks if it["session_id"] == line.strip()]
            for some in (paths[at : at + 64] for at in range(0, len(paths), 64)):
                agent.call("force_release_lock", repo=repo, paths=some, reason="its holder died")


def hold(agent, settings, dice):
    del dice
    agent.call("acquire_lock", paths=[settings["path"]], ttl_seconds=30)
    sys.stdin.readline()
    agent.call("release_lock", paths=[settings["path"]])
    agent.call("verify_locks", paths=[settings["path"]])


def wait(agent, settings, dice):
    while True:
        agent.call("acquire_lock", paths=[settings["path"]], wait_seconds=600)
        time.sleep(dice.uniform(0.05, 0.15))


MODES = [hammer, batches, churn, duplicates, fleet, undertaker, hold, wait]


def main():
    mode, settings = sys.argv[1], json.loads(sys.argv[2])
    work = {it.__name__: it for it in MODES}[mode]
    work(Agent(settings), settings, random.Random(settings["seed"]))


main()
