"""A client of tests/audit.rs in a process of its own, made to be killed: random calls one after the
other, each noted before it is sent (`id?`) and after it was answered (`id rows what`), where rows
is what the audit must hold of it.

audit_worker.py SETTINGS, a JSON object: url, token, agent, repo, log, calls, and until in seconds
since 1970.
"""

import http.client
import json
import os
import random
import sys
import time
from urllib.parse import urlsplit


def chosen(settings, mine):
    own = {"paths": [f"{settings['agent']}/{random.randrange(256)}"]}
    draw = random.randrange(20)
    if draw < 6:
        return "acquire_lock", own
    if draw < 9:
        return "acquire_lock", {"paths": ["all-want-this"], "ttl_seconds": 30}
    if draw < 13:
        return "release_lock", {}
    if draw < 16:
        return "acquire_lock", {"paths": ["x"], "repo": "audit.example/acme/forbidden"}
    if draw == 16:
        return "acquire_lock", {"paths": ["../out"]}
    if draw == 17:
        return "check_locks", {}
    if draw == 18:
        return "force_release_lock", {"paths": ["x"], "reason": "r"}
    return ("end_session" if mine else "heartbeat"), {}


def main():
    settings = json.loads(sys.argv[1])
    connection = http.client.HTTPConnection(urlsplit(settings["url"]).netloc, timeout=60)
    mine = False
    with open(settings["log"], "a", buffering=1) as log:
        for number in range(settings["calls"]):
            if time.time() > settings["until"]:
                break
            name = f"{settings['agent']}-{os.getpid()}-{number}"
            function, args = chosen(settings, mine)
            log.write(f"{name}?\n")
            headers = {"Authorization": "Bearer " + settings["token"], "Content-Type": "application/json",
                       "Content-Profile": "coord_v1", "X-Request-Id": name}
            connection.request("POST", "/rpc/" + function, json.dumps(args), headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
            if response.status >= 500:
                sys.exit(f"{function}: {response.status} {answer}")
            outcome = answer.get("outcome")
            rows = outcome in ("acquired", "renewed", "denied", "ended") or outcome == "released" and answer["released"] != []
            # The breaker's trip is one, too; a denial has its row already.
            rows = rows or answer.get("repeated") == 5
            mine = outcome == "acquired" or mine and outcome != "ended"
            log.write(f"{name} {int(rows)} {outcome or response.status}\n")


main()
