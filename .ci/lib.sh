# shellcheck shell=bash
# Shared by the project's scripts: where things are, and who runs a server. Source it.

# shellcheck disable=SC2034 # these are for those who source this
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Everything fetched or built for tests lives here, outside the tree. As root it
# is a system directory: servers run as another user, who cannot look into /root.
if [[ $(id -u) == 0 ]]; then
  cache=${COORD_DEV_CACHE:-/var/cache/coord-dev}
else
  cache=${COORD_DEV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coord-dev}
fi
# shellcheck disable=SC2034
venv=$cache/venv
mkdir -p "$cache"

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# The user that owns server processes: PostgreSQL refuses to run as root.
server_user() {
  if [[ $(id -u) != 0 ]]; then
    id -un
  elif id postgres >/dev/null 2>&1; then
    echo postgres
  else
    echo nobody
  fi
}

as_server() {
  if [[ $(id -u) == 0 ]]; then
    (cd / && exec setpriv --reuid "$(server_user)" --regid "$(id -g "$(server_user)")" --init-groups \
      env HOME=/ "$@")
  else
    "$@"
  fi
}

# Directory of a server's binaries: COORD_PG_BIN, else Debian's highest major from 15.
pg_bin() {
  if [[ -n ${COORD_PG_BIN:-} ]]; then
    [[ -x $COORD_PG_BIN/initdb ]] || die "COORD_PG_BIN=$COORD_PG_BIN holds no initdb"
    echo "$COORD_PG_BIN"
    return
  fi
  local dir best='' major
  for dir in /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null || true)"; do
    [[ -x $dir/initdb ]] || continue
    major=$("$dir/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
    if ((major >= 15)) && { [[ -z $best ]] || ((major > best_major)); }; then
      best=$dir best_major=$major
    fi
  done
  [[ -n $best ]] || die "no PostgreSQL 15 or newer here; run .ci/setup"
  echo "$best"
}
