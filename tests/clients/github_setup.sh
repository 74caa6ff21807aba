#!/bin/sh
# Installs what GitHub publishes of itself, by which the tests judge what is sent to it and
# take what it sends (the description of its API, bodies of its webhooks), outside the tree,
# and prints the directory of the packages. Quick when they are there already.
set -eu

openapi=23.0.2 examples=7.6.1 ajv=8.20.0
cache=${COORD_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coord-tests}
there=$cache/github-$openapi-$examples-$ajv

if [ ! -d "$there" ]; then
  mkdir -p "$cache"
  # Aside first, so that what is there is whole, however many tests start at once.
  aside=$(mktemp -d "$cache/installing.XXXXXX")
  trap 'rm -rf "$aside"' EXIT
  npm install --prefix "$aside" --no-save --no-package-lock --no-audit --no-fund --loglevel error \
    "@octokit/openapi@$openapi" "@octokit/webhooks-examples@$examples" "ajv@$ajv" >&2
  mv "$aside" "$there" 2>/dev/null || [ -d "$there" ]
fi
echo "$there/node_modules"
