#!/usr/bin/env bash
# Scenarios on disks and processes of their own: power cuts, full disks, killed ledgers, damaged files, a flood.
# `scripts/chaos.sh` runs all and closes with a table; `scripts/chaos.sh power-cut` runs one.
#
# Most mount disks: they need root, mount and loop devices. Without them they are skipped, loudly, and this
# ends with 2; with CHAOS_SKIP_ROOT=1 it ends with 0 if what could be run held.
# FLOOD_TASKS (50000): how many specs the flood has. CHAOS_PROFILE=release builds the flood's binaries optimised.
set -euo pipefail
cd "$(dirname "$0")/.."

# name : filter of the tests in tests/chaos : whether it needs root
scenarios=(
  power-cut:power_cut::f04:root
  disk-full:disk_full::f1:root
  ledger:ledger_faults::f16_a_sqlite:root
  ledger-server:ledger_faults::f16_a_postgresql:
  bit-rot:bit_rot::f19:
  flood:flood:
)

say() { printf 'chaos: %s\n' "$*"; }
names() { printf '%s\n' "${scenarios[@]%%:*}" | paste -sd ' '; }

wanted=${1:-}
if [ -n "$wanted" ] && ! printf '%s\n' "${scenarios[@]%%:*}" | grep -qx -- "$wanted"; then
  say "unknown scenario '$wanted': say one of $(names)" >&2
  exit 2
fi

CHAOS_DIRECTORY=$(mktemp -d /tmp/millrace-chaos.XXXXXX)
CHAOS_TABLE=$CHAOS_DIRECTORY/table.md
export CHAOS_DIRECTORY CHAOS_TABLE
running=

# Whatever way this ends: the process group of the scenario, then the mounts, then the folder.
clean_up() {
  trap - EXIT INT TERM
  if [ -n "$running" ]; then kill -KILL -- "-$running" 2>/dev/null || true; fi
  local mounted
  for mounted in $(findmnt --raw --noheadings --output TARGET 2>/dev/null | grep "^$CHAOS_DIRECTORY/" || true); do
    umount --lazy "$mounted" || say "could not unmount $mounted"
  done
  rm -rf "$CHAOS_DIRECTORY"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Tries what the scenarios do. Says why not.
cannot_mount() {
  if [ "$(id -u)" != 0 ]; then echo 'not root'; return; fi
  for tool in mkfs.ext4 losetup findmnt truncate; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: run \`make setup\`"; return; }
  done
  local trial=$CHAOS_DIRECTORY/trial
  mkdir -p "$trial/disk"
  truncate --size=8M "$trial/image"
  mkfs.ext4 -q -F "$trial/image"
  mount -o loop "$trial/image" "$trial/disk" 2>"$trial/why" || { echo "no loop devices: $(cat "$trial/why")"; return; }
  umount "$trial/disk"
  mount -t tmpfs -o size=1m tmpfs "$trial/disk" 2>"$trial/why" || { echo "no tmpfs: $(cat "$trial/why")"; return; }
  umount "$trial/disk"
}

profile=()
if [ "${CHAOS_PROFILE:-}" = release ]; then profile=(--release); fi
say 'building'
cargo build --locked --quiet "${profile[@]}" --package millrace
cargo test --locked --quiet "${profile[@]}" --package millrace-chaos --no-run

why=$(cannot_mount)
failed=() skipped=()
for scenario in "${scenarios[@]}"; do
  IFS=: read -r name filter needs < <(sed 's/::/@@/g' <<<"$scenario")
  if [ -n "$wanted" ] && [ "$wanted" != "$name" ]; then continue; fi
  if [ "$needs" = root ] && [ -n "$why" ]; then skipped+=("$name"); continue; fi
  # A process group of its own, so that nothing outlives it whatever happens.
  setsid cargo test --locked --quiet "${profile[@]}" --package millrace-chaos --test all -- \
    --ignored --nocapture --test-threads=1 "${filter//@@/::}" &
  running=$!
  wait "$running" || failed+=("$name")
  kill -KILL -- "-$running" 2>/dev/null || true
  running=
done

if [ -s "$CHAOS_TABLE" ]; then
  printf '\n| fault | invariants | scenario | seconds | figures |\n|---|---|---|---|---|\n'
  cat "$CHAOS_TABLE"
  printf '\n'
fi
if [ ${#skipped[@]} -gt 0 ]; then
  say "SKIPPED, NOT PROVEN: ${skipped[*]} ($why). They need root, mount and loop devices."
fi
if [ ${#failed[@]} -gt 0 ]; then say "FAILED: ${failed[*]}"; exit 1; fi
if [ ${#skipped[@]} -gt 0 ] && [ "${CHAOS_SKIP_ROOT:-}" != 1 ]; then exit 2; fi
say "everything that was run held, $SECONDS s"
