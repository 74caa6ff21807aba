"""One agent of tests/locks.rs in a process of its own: locks and releases over one HTTP connection.

lock_worker.py MODE SETTINGS, where SETTINGS is a JSON object. What it did and was told goes to
standard output as JSON lines; their times are CLOCK_MONOTONIC, which all processes of a machine
share. `until` and `rounds` of the settings are seconds since 1970.

MODE is `hammer` (one path, over and over), `batches` (random sets of paths in random order), `churn`
(random calls of the `functions` of the settings, for many paths) or `duplicates` (the same call under
the same Idempotency-Key as all the others, at the same moment).
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
        self.http = http.client.HTTPConnection(urlsplit(settings["url"]).netloc, timeout=60)

    def call(self, function, key=None, **args):
        """Calls, writes a line about it, and gives the answer."""
        headers = self.headers | ({"Idempotency-Key": key} if key else {})
        body = json.dumps(args if function == "end_session" else {"repo": self.repo} | args)
        line = {"call": function, "args": args, "sent": time.monotonic()}
        self.http.request("POST", "/rpc/" + function, body, headers)
        response = self.http.getresponse()
        text = response.read()
        line |= {"got": time.monotonic(), "status": response.status, "answer": json.loads(text)}
        print(json.dumps(line))
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


def main():
    mode, settings = sys.argv[1], json.loads(sys.argv[2])
    work = {"hammer": hammer, "batches": batches, "churn": churn, "duplicates": duplicates}[mode]
    work(Agent(settings), settings, random.Random(settings["seed"]))


main()
