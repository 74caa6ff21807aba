"""One agent of tests/queue.rs in a process of its own, made to be killed: takes tasks and ends most of them.

work_worker.py SETTINGS, a JSON object: url, token, session, repo, seed, life, log, done, silence, slow. Each call
is written to the file `log` before it is made and again with its answer, as JSON lines; times are
seconds since 1970, which the database tells as well. It ends when the file `done` is there.

What becomes of an attempt follows from seed, task and attempt alone, whoever has it. Now and then
(`silence`), and with its third tasks if it is `slow`, it says so in `log`.silent and is silent until
`log`.wake is there; then it goes on with what it had, as if nothing had happened.
"""

import http.client
import json
import os
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
            "X-Session-Id": settings["session"],
        }
        self.log = open(settings["log"], "a", buffering=1)
        self.http = http.client.HTTPConnection(urlsplit(settings["url"]).netloc, timeout=60)

    def call(self, function, **args):
        line = {"call": function, "args": args, "sent": time.time()}
        self.log.write(json.dumps(line) + "\n")
        self.http.request("POST", "/rpc/" + function, json.dumps(args), self.headers)
        response = self.http.getresponse()
        answer = json.loads(response.read())
        line |= {"got": time.time(), "status": response.status, "answer": answer}
        self.log.write(json.dumps(line) + "\n")
        return answer


def end(agent, seed, task):
    mine = {"task": task["id"], "attempt": task["attempt"]}
    fate = random.Random(f"{seed} {task['id']} {task['attempt']}").random()
    if fate < 0.06:
        agent.call("complete_work", success=False, error="the dice said so", **mine)
    elif fate < 0.09:
        agent.call("return_work", reason="the dice said so", **mine)
    else:
        agent.call("complete_work", success=True, result=mine | {"by": agent.headers["X-Session-Id"]}, **mine)


def be_silent(log):
    open(log + ".silent", "w").close()
    while not os.path.exists(log + ".wake"):
        time.sleep(0.05)
    os.remove(log + ".wake")


def main():
    settings = json.loads(sys.argv[1])
    agent, dice = Agent(settings), random.Random(f"{settings['seed']} {settings['life']}")
    taken = 0
    while not os.path.exists(settings["done"]):
        ask = {"max_tasks": dice.randint(1, 10), "lease_seconds": dice.choice([60, 300, 900])}
        tasks = agent.call("get_work", repo=settings["repo"], **ask).get("tasks", [])
        taken += bool(tasks)
        if not tasks:
            time.sleep(dice.uniform(0.05, 0.3))
        elif dice.random() < settings["silence"] or (settings["slow"] and taken == 3):
            be_silent(settings["log"])
            agent.http.close()  # By now the server has, if it was long.
        for task in tasks:
            end(agent, settings["seed"], task)


main()
