"""The API of a model, on loopback, that does what a script says: real clients, no model.

    stub.py SCRIPT

SCRIPT is a JSON file: {"claude-code": [[tool, input], ...], "codex": [...], "aider": [text, ...]}.
It is read anew for every request. Prints its port, then what each tool answered, as JSON lines.
Speaks as much of /v1/messages, /responses and /chat/completions as the clients listen to.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def script(client):
    with open(sys.argv[1]) as file:
        return json.load(file).get(client, [])


def tell(client, number, text):
    print(json.dumps({"client": client, "call": number, "answer": text}), flush=True)


def plain(content):
    """What a client gives back for a tool, as text."""
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content)
    return content if isinstance(content, str) else json.dumps(content)


def claude(request):
    blocks = [b for m in request["messages"] if isinstance(m["content"], list) for b in m["content"]]
    results = [b for b in blocks if b.get("type") == "tool_result"]
    steps = script("claude-code")
    # Few tools: a call on the side, for a title or a summary.
    is_main = len(request.get("tools", [])) > 3
    if is_main and results:
        tell("claude-code", len(results) - 1, plain(results[-1]["content"]))
    start = {"id": "m", "type": "message", "role": "assistant", "model": request["model"], "content": [],
             "stop_reason": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
    yield "message_start", {"message": start}
    if is_main and len(results) < len(steps):
        name, tool_input = steps[len(results)]
        block = {"type": "tool_use", "id": f"toolu_{len(results)}", "name": name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(tool_input)}
        stop = "tool_use"
    else:
        block, delta, stop = {"type": "text", "text": ""}, {"type": "text_delta", "text": "done"}, "end_turn"
    yield "content_block_start", {"index": 0, "content_block": block}
    yield "content_block_delta", {"index": 0, "delta": delta}
    yield "content_block_stop", {"index": 0}
    yield "message_delta", {"delta": {"stop_reason": stop}, "usage": {"output_tokens": 1}}
    yield "message_stop", {}


def codex(request):
    results = [i for i in request["input"] if i.get("type", "").endswith("_call_output")]
    steps = script("codex")
    if results:
        tell("codex", len(results) - 1, plain(results[-1]["output"]))
    if len(results) < len(steps):
        name, tool_input = steps[len(results)]
        call = {"call_id": f"call_{len(results)}", "name": name}
        custom = any(t.get("name") == name and t.get("type") == "custom" for t in request["tools"])
        if custom:
            item = {"type": "custom_tool_call", **call, "input": tool_input["input"]}
        else:
            item = {"type": "function_call", **call, "arguments": json.dumps(tool_input)}
    else:
        item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "done"}]}
    usage = {"input_tokens": 1, "input_tokens_details": None, "output_tokens": 1, "output_tokens_details": None, "total_tokens": 2}
    yield "response.created", {"response": {"id": "r"}}
    yield "response.output_item.done", {"output_index": 0, "item": item}
    yield "response.completed", {"response": {"id": "r", "usage": usage}}


def aider(request):
    steps = script("aider")
    asked = sum(m["role"] == "user" for m in request["messages"])
    tell("aider", asked, plain(request["messages"][-1]["content"])[:2000])
    text = steps[0] if steps else "done"
    if not request.get("stream"):
        # What it asks beside the conversation: a message for its commit.
        message = {"role": "assistant", "content": "change a number"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        yield None, {"id": "c", "object": "chat.completion", "created": 1, "model": "stub", "choices": [choice], "usage": usage}
        return
    for delta, end in (({"role": "assistant", "content": text}, None), ({}, "stop")):
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        yield None, {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "stub", "choices": [choice]}
    yield None, None


APIS = {"/v1/messages": claude, "/v1/responses": codex, "/v1/chat/completions": aider}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        api = APIS.get(self.path.split("?")[0])
        self.send_response(200 if api else 404)
        streams = request.get("stream", False)
        self.send_header("content-type", "text/event-stream" if streams else "application/json")
        self.end_headers()
        if api is None:
            return
        if not streams:
            self.wfile.write(json.dumps(next(body for _, body in api(request))).encode())
            return
        for event, body in api(request):
            if body is None:
                self.wfile.write(b"data: [DONE]\n\n")
                continue
            if event:
                self.wfile.write(f"event: {event}\n".encode())
                body = {"type": event, **body}
            self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())

    def do_GET(self):
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
