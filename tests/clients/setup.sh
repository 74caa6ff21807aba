#!/bin/sh
# Installs the clients that the end-to-end tests drive (MCP's SDK and inspector,
# postgrest-py, supabase-js with the Node it wants), outside the tree, and prints
# the directory they are in. Quick when they are there already.
set -eu

mcp=2.3.0 postgrest=2.34.1 inspector=2.12.0 supabase=2.119.1 node=22.23.3
cache=${COORD_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coord-tests}
there=$cache/clients-$mcp-$postgrest-$inspector-$supabase-$node

if [ ! -d "$there" ]; then
  mkdir -p "$cache"
  # Aside first, so that what is there is whole, however many tests start at once.
  aside=$(mktemp -d "$cache/installing.XXXXXX")
  trap 'rm -rf "$aside"' EXIT
  python3 -m venv "$aside/python" >&2
  "$aside/python/bin/python" -m pip install --quiet --disable-pip-version-check "mcp==$mcp" "postgrest==$postgrest" >&2
  mkdir "$aside/node"
  # The inspector and supabase-js need node 22; the one on the machine may be older.
  npm install --prefix "$aside/node" --no-save --no-package-lock --no-audit --no-fund --loglevel error \
    "node@$node" "@modelcontextprotocol/inspector@$inspector" "@supabase/supabase-js@$supabase" >&2
  mv "$aside" "$there" 2>/dev/null || [ -d "$there" ]
fi
echo "$there"
