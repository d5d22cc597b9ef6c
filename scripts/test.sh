#!/usr/bin/env bash
# Everything that CI checks, cheapest first, with the time that each step took. Stops at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."

steps=6
number=0
step() { # title, command…
  number=$((number + 1))
  printf '\n[%d/%d] %s\n' "$number" "$steps" "$1"
  local began=$SECONDS
  shift
  "$@"
  printf '[%d/%d] ok, %d s\n' "$number" "$steps" "$((SECONDS - began))"
}

step 'formatting' cargo fmt --all --check
step 'Kubernetes manifests' scripts/check_manifests.sh
step 'licences, bans and sources of dependencies' scripts/check_dependencies.sh
step 'lints' cargo clippy --locked --workspace --all-targets -- -D warnings
# The end-to-end tests run the built binaries.
step 'binaries' cargo build --locked --workspace --bins
step 'tests' cargo test --locked --workspace
printf '\nall %d steps passed in %d s\n' "$steps" "$SECONDS"
