#!/bin/sh
# Installs the MCP clients that tests/mcp.rs drives, outside the tree, and
# prints the directory they are in. Quick when they are there already.
set -eu

mcp=2.3.0 inspector=2.12.0 node=22.23.3
cache=${COORD_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coord-tests}
there=$cache/mcp-clients-$mcp-$inspector-$node

if [ ! -d "$there" ]; then
  mkdir -p "$cache"
  # Aside first, so that what is there is whole, however many tests start at once.
  aside=$(mktemp -d "$cache/installing.XXXXXX")
  trap 'rm -rf "$aside"' EXIT
  python3 -m venv "$aside/python" >&2
  "$aside/python/bin/python" -m pip install --quiet --disable-pip-version-check "mcp==$mcp" >&2
  mkdir "$aside/node"
  # The inspector needs node 22; the one on the machine may be older.
  npm install --prefix "$aside/node" --no-save --no-package-lock --no-audit --no-fund --loglevel error \
    "node@$node" "@modelcontextprotocol/inspector@$inspector" >&2
  mv "$aside" "$there" 2>/dev/null || [ -d "$there" ]
fi
echo "$there"
