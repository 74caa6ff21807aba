"""Walks through all that the bridge offers with the official SDK and says what it saw.

walk.py ERA (--url URL | COMMAND ARG…): one JSON object on standard output.
ERA is `legacy` (initialize) or `auto` (the newest both know). Over HTTP, COORD_TOKEN is sent.
"""

import json
import os
import sys
import warnings

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

# The old way to subscribe is deprecated, and one of the two that are walked here.
warnings.simplefilter("ignore")

RESOURCE = "locks://current"
REPO = "local/playground"


def text(result):
    """The text of a tool's result, which is all it may have."""
    assert len(result.content) == 1, result
    assert result.structured_content is None, result
    return result.content[0].text


async def walk(era, server):
    saw = {}
    updates = anyio.Event()

    async def on_message(message):
        if isinstance(message, types.ResourceUpdatedNotification):
            assert message.params.uri == RESOURCE
            updates.set()

    async with Client(server, mode=era, message_handler=on_message, read_timeout_seconds=20) as client:
        saw["protocol"] = client.protocol_version
        saw["instructions"] = client.instructions
        tools = await client.list_tools()
        wire = tools.model_dump_json(by_alias=True, exclude_none=True)
        saw["listing_bytes"] = len(wire.encode())
        saw["tools"] = [tool.name for tool in tools.tools]
        saw["resources"] = [str(it.uri) for it in (await client.list_resources()).resources]
        saw["templates"] = len((await client.list_resource_templates()).resource_templates)
        saw["prompts"] = [it.name for it in (await client.list_prompts()).prompts]
        prompt = await client.get_prompt("start_editing", {"task": "rename the widget"})
        saw["prompt"] = prompt.messages[0].content.text

        async def lock(**arguments):
            return await client.call_tool("acquire_lock", {"repo": REPO, **arguments})

        before = await client.read_resource(RESOURCE)
        saw["before"] = json.loads(before.contents[0].text)
        saw["mime_type"] = before.contents[0].mime_type

        path = f"walk/{os.getpid()}.txt"
        if era == "legacy":
            await client.subscribe_resource(RESOURCE)
            saw["acquired"] = json.loads(text(await lock(paths=[path])))
            with anyio.fail_after(10):
                await updates.wait()
            await client.unsubscribe_resource(RESOURCE)
        else:
            async with client.listen(resource_subscriptions=[RESOURCE], tools_list_changed=True) as news:
                saw["honored"] = news.honored.model_dump(by_alias=True, exclude_none=True)
                saw["acquired"] = json.loads(text(await lock(paths=[path])))
                with anyio.fail_after(10):
                    event = await anext(news)
                assert str(event.uri) == RESOURCE, event
        saw["updated"] = True

        after = json.loads((await client.read_resource(RESOURCE)).contents[0].text)
        saw["listed"] = path in json.dumps(after)
        saw["renewed"] = json.loads(text(await lock(paths=[path])))["outcome"]

        for name, arguments in {
            "misspelt": {"path": [path]},
            "refused": {"paths": [path], "ttl_seconds": 1},
        }.items():
            result = await lock(**arguments)
            saw[name] = {"is_error": result.is_error, "text": text(result)}

        try:
            await client.call_tool("aquire_lock", {"paths": [path]})
        except MCPError as error:
            saw["unknown_tool"] = {"code": error.error.code, "message": error.error.message}
        try:
            await client.read_resource("locks://nowhere")
        except MCPError as error:
            saw["unknown_resource"] = {"code": error.error.code, "message": error.error.message}
    return saw


async def main():
    era, *where = sys.argv[1:]
    if where[0] == "--url":
        headers = {"Authorization": f"Bearer {os.environ['COORD_TOKEN']}"}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            saw = await walk(era, streamable_http_client(where[1], http_client=http))
    else:
        # The SDK passes on only a few variables by itself.
        server = StdioServerParameters(command=where[0], args=where[1:], env=dict(os.environ))
        saw = await walk(era, server)
    print(json.dumps(saw))


anyio.run(main)
