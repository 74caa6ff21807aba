#!/bin/sh
# Installs the agents that tests/agents/run drives (Claude Code, Codex, Aider), outside
# the tree, and prints the directory they are in. Quick when they are there already. One
# that cannot be installed is left out, and said.
set -eu

claude=2.1.330 codex=0.169.0 aider=0.86.2
cache=${COORD_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coord-tests}
there=$cache/agents-$claude-$codex-$aider

if [ ! -d "$there" ]; then
  mkdir -p "$cache"
  # Aside first, so that what is there is whole.
  aside=$(mktemp -d "$cache/installing.XXXXXX")
  trap 'rm -rf "$aside"' EXIT
  npm_install() {
    npm install --prefix "$aside/$1" --no-save --no-package-lock --no-audit --no-fund --loglevel error "$2" >&2 ||
      { echo "cannot install $2" >&2 && rm -rf "${aside:?}/$1"; }
  }
  npm_install claude-code "@anthropic-ai/claude-code@$claude"
  npm_install codex "@openai/codex@$codex"
  {
    python3 -m venv "$aside/aider" &&
      "$aside/aider/bin/python" -m pip install --quiet --disable-pip-version-check "aider-chat==$aider" >&2
  } || { echo "cannot install aider-chat==$aider" >&2 && rm -rf "${aside:?}/aider"; }
  mv "$aside" "$there" 2>/dev/null || [ -d "$there" ]
fi
echo "$there"
