"""Stands for the gateway of hosted Supabase: the REST API below /rest/v1, for requests with an apikey.

gateway.py URL KEY: prints its own address and serves until its standard input ends. Requests whose
`apikey` header is another are answered 401; the rest go on to URL as they are, without the prefix
and without the key, and the answers come back as they are.
"""

import http.client
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

URL, KEY = sys.argv[1:]
PREFIX = "/rest/v1"


class Gateway(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("apikey") != KEY:
            return self.answer(401, [("Content-Type", "application/json")], b'{"message":"No API key found in request"}')
        if self.path != PREFIX and not self.path.startswith((PREFIX + "/", PREFIX + "?")):
            return self.answer(404, [], b"")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "apikey", "connection")}
        upstream = http.client.HTTPConnection(urlsplit(URL).netloc, timeout=30)
        upstream.request(self.command, self.path.removeprefix(PREFIX) or "/", body, headers)
        response = upstream.getresponse()
        content = response.read()
        upstream.close()
        skip = ("transfer-encoding", "content-length", "connection", "date", "server")
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in skip]
        return self.answer(response.status, kept, content)

    def answer(self, status, headers, content):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_OPTIONS = forward

    def log_message(self, *_):
        pass


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


main()
