"""Judges requests to AgentCore and E2B by what these publish: botocore's service model and E2B's SDK.

usage: vendors.py judge LOG [KEY SECRET TOKEN]   LOG: a line {method, path, query, headers, body, raw} for each request
       vendors.py says TEXT CODE                 prints, in base64, what a sandbox answers whose command says TEXT and ends with CODE
"""

import base64
import json
import struct
import sys
import urllib.parse


def agentcore(request, keys):
    """The same call by botocore, and its signature of what was sent."""
    import botocore.session
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest, AWSResponse
    from botocore.credentials import Credentials

    headers = request["headers"]
    arn = urllib.parse.unquote(request["path"].split("/")[2])
    session = botocore.session.Session()
    session.set_credentials(*keys)
    client = session.create_client("bedrock-agentcore", region_name=arn.split(":")[3])
    sent = []

    def before_send(request, **_):
        sent.append(request)
        return AWSResponse(request.url, 200, {"content-type": "application/json"}, None)

    client.meta.events.register("before-send.bedrock-agentcore.*", before_send)
    name = "x-amzn-bedrock-agentcore-runtime-session-id"
    arguments = dict(agentRuntimeArn=arn, payload=request["raw"].encode(), contentType=headers["content-type"], accept=headers["accept"])
    arguments |= dict(runtimeSessionId=headers[name], **request["query"])
    # Checked against the model before it is sent: names, lengths, what is required.
    try:
        client.invoke_agent_runtime(**arguments)
    except AttributeError:
        pass  # There is no answer to read.
    theirs = urllib.parse.urlsplit(sent[0].url)
    ours = request["path"] + ("?" + urllib.parse.urlencode(request["query"]) if request["query"] else "")
    assert (request["method"], ours) == (sent[0].method, theirs.path + (f"?{theirs.query}" if theirs.query else "")), (ours, sent[0].url)
    signed = [part for part in sent[0].headers["Authorization"].decode().split(", ") if "SignedHeaders" in part]
    got = dict(part.split("=", 1) for part in headers["authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(", "))
    assert set(got["SignedHeaders"].split(";")) >= set(signed[0].split("=")[1].split(";")), (got, signed)

    auth = SigV4Auth(Credentials(*keys), "bedrock-agentcore", arn.split(":")[3])
    chosen = {name: headers[name] for name in got["SignedHeaders"].split(";") if name != "host"}
    again = AWSRequest(request["method"], f"http://{headers['host']}{ours}", data=request["raw"].encode(), headers=chosen)
    again.context["timestamp"] = headers["x-amz-date"]
    signature = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    assert got["Signature"] == signature, (got, auth.canonical_request(again))
    assert got["Credential"].startswith(f"{keys[0]}/{headers['x-amz-date'][:8]}/{arn.split(':')[3]}/bedrock-agentcore/"), got
    return "InvokeAgentRuntime"


def e2b(request):
    from e2b.api.client.models import NewSandbox
    from e2b.connection_config import ConnectionConfig
    from e2b.envd.process.process_pb import StartRequest

    headers = request["headers"]
    if request["path"] == "/process.Process/Start":
        assert request["method"] == "POST" and headers["content-type"] == "application/connect+json", request
        assert headers["connect-protocol-version"] == "1", headers
        assert headers["e2b-sandbox-port"] == str(ConnectionConfig.envd_port), headers
        assert headers["e2b-sandbox-id"] and headers["x-access-token"] and "x-api-key" not in headers, headers
        raw = base64.b64decode(request["base64"])
        flags, size = struct.unpack(">BI", raw[:5])
        assert (flags, size) == (0, len(raw) - 5), raw
        # A field that is not known is refused.
        start = StartRequest.from_json(raw[5:].decode())
        assert start.process.cmd == "/bin/bash" and start.process.args[:2] == ["-l", "-c"], start
        return "Start"
    assert headers["x-api-key"], headers
    if request["method"] == "POST":
        assert request["path"] == "/sandboxes" and headers["content-type"] == "application/json", request
        sandbox = NewSandbox.from_dict(request["body"])
        assert not sandbox.additional_properties, sandbox.additional_properties
        again = {name: value for name, value in sandbox.to_dict().items() if value != []}
        assert isinstance(sandbox.timeout, int) and again == request["body"], sandbox
        return "create"
    assert request["method"] == "DELETE" and request["path"].startswith("/sandboxes/"), request
    return "kill"


def says(text, code):
    from protobuf import Oneof
    from e2b.envd.process.process_pb import ProcessEvent as Event, StartResponse

    data = Event.DataEvent(output=Oneof("stdout", text.encode()))
    end = Event.EndEvent(exit_code=int(code), exited=True, status=f"exit status {code}")
    events = [("start", Event.StartEvent(pid=7)), ("keepalive", Event.KeepAlive()), ("data", data), ("end", end)]
    messages = [(0, StartResponse(event=Event(event=Oneof(name, event))).to_json()) for name, event in events]
    stream = b"".join(struct.pack(">BI", flags, len(it.encode())) + it.encode() for flags, it in [*messages, (2, "{}")])
    print(base64.b64encode(stream).decode())


def judge(log, *keys):
    done = []
    for line in open(log):
        request = json.loads(line)
        done.append(agentcore(request, keys) if request["path"].startswith("/runtimes/") else e2b(request))
    print(" ".join(done))


{"judge": judge, "says": says}[sys.argv[1]](*sys.argv[2:])
