#!/usr/bin/env bash
# Licences, bans and sources of the dependency tree, by deny.toml. Advisories need their database from the
# network and are not part of this.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo-deny >/dev/null 2>&1; then
  echo 'SKIPPED: cargo-deny is not installed (cargo install cargo-deny --locked); licences, bans and sources were NOT checked'
  exit 0
fi
cargo fetch --locked --quiet
cargo deny --offline check licenses bans sources
