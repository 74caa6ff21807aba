#!/bin/sh
# Installs what Amazon and E2B publish of their APIs (botocore with its service models, E2B's
# SDK), by which the tests judge what is sent to them, outside the tree, and prints the
# directory they are in. Quick when they are there already.
set -eu

botocore=1.44.5 e2b=2.63.0
cache=${COORD_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coord-tests}
there=$cache/vendors-$botocore-$e2b

if [ ! -d "$there" ]; then
  mkdir -p "$cache"
  # Aside first, so that what is there is whole, however many tests start at once.
  aside=$(mktemp -d "$cache/installing.XXXXXX")
  trap 'rm -rf "$aside"' EXIT
  python3 -m venv "$aside" >&2
  "$aside/bin/python" -m pip install --quiet --disable-pip-version-check "botocore==$botocore" "e2b==$e2b" >&2
  mv "$aside" "$there" 2>/dev/null || [ -d "$there" ]
fi
echo "$there"
