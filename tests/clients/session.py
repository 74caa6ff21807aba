"""An MCP client that does as it is told: the official SDK behind lines of JSON.

session.py ERA (--url URL | COMMAND ARG…). ERA is `legacy` (initialize) or `auto` (the newest both
know). Over HTTP, COORD_TOKEN is sent, and COORD_SESSION_ID as X-Session-Id. Each line in, with
`tool` and `arguments`, is a call and answers `is_error` and `text`; with `list` it answers `tools`.
"""

import json
import os
import sys

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client


async def serve(era, server):
    async with Client(server, mode=era, read_timeout_seconds=20) as client:
        async for line in anyio.wrap_file(sys.stdin):
            wanted = json.loads(line)
            if "list" in wanted:
                tools = (await client.list_tools()).tools
                answer = {"tools": [tool.name for tool in tools]}
            else:
                result = await client.call_tool(wanted["tool"], wanted["arguments"])
                answer = {"is_error": result.is_error, "text": result.content[0].text}
            print(json.dumps(answer), flush=True)


async def main():
    era, *where = sys.argv[1:]
    if where[0] == "--url":
        headers = {"Authorization": f"Bearer {os.environ['COORD_TOKEN']}", "X-Session-Id": os.environ["COORD_SESSION_ID"]}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            await serve(era, streamable_http_client(where[1], http_client=http))
    else:
        # The SDK passes on only a few variables by itself.
        await serve(era, StdioServerParameters(command=where[0], args=where[1:], env=dict(os.environ)))


anyio.run(main)
