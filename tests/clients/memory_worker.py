"""A client of tests/memory.rs in a process of its own: tells its share of events, each call with a
detail, a lesson and a tag that no other call has, and prints what it was answered, a line a call.

memory_worker.py SETTINGS, a JSON object: url, token, repo, worker, workers, events, tellings. All
tellings of an event are neighbours, and neighbours belong to different workers.
"""

import http.client
import json
import sys
from urllib.parse import urlsplit


def main():
    settings = json.loads(sys.argv[1])
    connection = http.client.HTTPConnection(urlsplit(settings["url"]).netloc, timeout=60)
    headers = {"Authorization": "Bearer " + settings["token"], "Content-Type": "application/json",
               "Content-Profile": "coord_v1", "X-Session-Id": f"worker-{settings['worker']}"}
    for number in range(settings["worker"], settings["events"] * settings["tellings"], settings["workers"]):
        event, telling = divmod(number, settings["tellings"])
        told = {
            "repo": settings["repo"], "event_type": "load", "summary": f"event {event} happened",
            "details": f"detail {event}-{telling}", "lessons": [f"lesson {event}-{telling}", f"lesson of {event}"],
            "tags": [f"tag-{event}-{telling}", "of-all"],
        }
        connection.request("POST", "/rpc/remember", json.dumps(told), headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            sys.exit(f"{told}: {response.status} {answer}")
        print(json.dumps({"event": event} | answer))


main()
