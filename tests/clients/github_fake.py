"""Stands for GitHub's REST API in tests: keeps issues, labels and comments, and writes down what it is asked.

usage: github_fake.py LOG     prints its port; ends with its standard input

Every request goes to LOG as a line {method, path, query, headers, body, status}. Below /_test a test sees
and sets what people would: POST /_test/issue {number, title, labels…}, GET /_test/issue/N,
POST /_test/next [{status, headers, body, method}…] (what the next requests, of that method, are answered instead).
"""

import http.server
import json
import re
import sys
import threading
import urllib.parse

LOG = open(sys.argv[1], "a", buffering=1)
PAGE = 2  # at most, whatever is asked for: lists of tests are short
TOKEN = "Bearer the token of the tests"
lock = threading.Lock()
clock = 0
issues, comments, instead = {}, {}, []
REPO = "/repos/Acme/App"


def now():
    global clock
    clock += 1
    return f"2026-11-23T{clock // 3600:02}:{clock // 60 % 60:02}:{clock % 60:02}Z"


def touch(number):
    issues[number]["updated_at"] = now()


def labels_of(number):
    return [{"id": 1, "name": name, "color": "ededed"} for name in issues[number]["labels"]]


def shown(number):
    issue = issues[number]
    whole = {"number": number, "id": number, "state": issue["state"], "title": issue["title"], "body": issue.get("body"),
             "html_url": f"https://github.com/Acme/App/issues/{number}", "labels": labels_of(number), "updated_at": issue["updated_at"]}
    return whole | ({"pull_request": {}} if issue.get("pull") else {})


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body=None, headers=()):
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, str(value))
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if status != 204:
            self.wfile.write(text)

    def page(self, rows, path, query):
        size = min(int(query.get("per_page", ["30"])[0]), PAGE)
        at = int(query.get("page", ["1"])[0])
        links = []
        if len(rows) > at * size:
            further = urllib.parse.urlencode({name: value[0] for name, value in query.items()} | {"page": at + 1})
            links = [("Link", f'<http://{self.headers["Host"]}{path}?{further}>; rel="next"')]
        return 200, rows[(at - 1) * size : at * size], links

    def do(self):
        url = urllib.parse.urlsplit(self.path)
        path, query = url.path, urllib.parse.parse_qs(url.query)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else None
        with lock:
            if path.startswith("/_test/"):
                answer = self.of_test(path, body)
            else:
                answer = self.answer(path, query, body)
                LOG.write(json.dumps({"method": self.command, "path": path, "query": {k: v[0] for k, v in query.items()},
                                      "headers": {k.lower(): v for k, v in self.headers.items()}, "body": body, "status": answer[0]}) + "\n")
        self.send(*answer)

    def of_test(self, path, body):
        global instead
        if path == "/_test/next":
            instead = body
        elif path == "/_test/issue":
            number = body.pop("number")
            issues.setdefault(number, {"state": "open", "title": f"Issue {number}", "labels": []}).update(body)
            touch(number)
        elif path == "/_test/comment":
            comments[len(comments) + 1] = {"issue": body["issue"], "body": body["body"], "others": body.get("others", False)}
            touch(body["issue"])
        else:
            number = int(path.rsplit("/", 1)[1])
            return 200, {"labels": sorted(issues[number]["labels"]),
                         "comments": [it["body"] for it in comments.values() if it["issue"] == number]}
        return 200, {}

    def answer(self, path, query, body):
        if self.headers.get("Authorization") != TOKEN:
            return 401, {"message": "Bad credentials"}
        if instead and instead[0].get("method", self.command) == self.command:
            first = instead.pop(0)
            return first["status"], first.get("body", {"message": "as told"}), list(first.get("headers", {}).items())
        # Names of repositories are the same in any case; answers have the real one.
        if not path.lower().startswith(REPO.lower()):
            return 404, {"message": "Not Found"}
        rest = path[len(REPO):]
        if rest == "":
            return 200, {"full_name": "Acme/App"}
        if rest == "/issues":
            states = {"all": ["open", "closed"]}.get(query["state"][0], query["state"])
            since = query.get("since", [""])[0]
            rows = [shown(number) for number in sorted(issues, key=lambda it: issues[it]["updated_at"])
                    if issues[number]["state"] in states and (not since or not issues[number].get("old"))]
            return self.page(rows, path, query)
        if found := re.fullmatch(r"/issues/comments/(\d+)", rest):
            comment = comments.get(int(found[1]))
            if comment is None:
                return 404, {"message": "Not Found"}
            if comment["others"]:
                return 403, {"message": "Resource not accessible by personal access token"}
            if self.command == "DELETE":
                del comments[int(found[1])]
                return (204,)
            comment["body"] = body["body"]
            return 200, {"id": int(found[1])}
        found = re.match(r"/issues/(\d+)", rest)
        number = int(found[1]) if found else 0
        if number not in issues:
            return 404, {"message": "Not Found"}
        rest = rest[found.end():]
        if rest == "":
            return 200, shown(number)
        if rest == "/comments":
            if self.command == "POST":
                comments[max(comments, default=0) + 1] = {"issue": number, "body": body["body"], "others": False}
                touch(number)
                return 201, {"id": len(comments)}
            rows = [{"id": key, "body": it["body"]} for key, it in comments.items() if it["issue"] == number]
            return self.page(rows, path, query)
        if rest == "/labels" and self.command == "POST":
            if any(len(name) > 50 for name in body["labels"]):
                return 422, {"message": "Validation Failed"}
            issues[number]["labels"] += [name for name in body["labels"] if name not in issues[number]["labels"]]
            touch(number)
            return 200, labels_of(number)
        if rest.startswith("/labels/") and self.command == "DELETE":
            name = urllib.parse.unquote(rest.removeprefix("/labels/"))
            if name not in issues[number]["labels"]:
                return 404, {"message": "Label does not exist"}
            issues[number]["labels"].remove(name)
            touch(number)
            return 200, labels_of(number)
        return 404, {"message": "Not Found"}

    do_GET = do_POST = do_PATCH = do_DELETE = do


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
