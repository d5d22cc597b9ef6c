#!/usr/bin/env bash
# Shows that the simulator has teeth: takes one guard at a time out of a copy of the tree (tests/sim/teeth/*.patch)
# and runs seeds until one finds it. Says which guard, which seed and which invariant, and fails where a patch does
# not apply or nothing is found.
#
#   scripts/teeth.sh [guard...]        SEEDS=2000 seeds at most, TEETH_TARGET=<dir> to keep what is compiled
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR=${TEETH_TARGET:-$work/target}
export SEEDS=${SEEDS:-2000}

guards=("$@")
if [ ${#guards[@]} -eq 0 ]; then
    for patch in "$root"/tests/sim/teeth/*.patch; do guards+=("$(basename "$patch" .patch)"); done
fi

mkdir "$work/tree"
(cd "$root" && git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --ignore-failed-read -cf - 2>/dev/null) |
    # As new: a kept target holds what was compiled of another tree, and cargo goes by times alone.
    tar -xmf - -C "$work/tree"
cd "$work/tree"

failed=0
printf '%-28s %-8s %-8s %s\n' guard seed seeds invariant
for guard in "${guards[@]}"; do
    patch="$root/tests/sim/teeth/$guard.patch"
    if ! patch --batch --forward --silent -p1 <"$patch" >"$work/patch.log" 2>&1; then
        echo "$guard: the patch does not apply: $(tr '\n' ' ' <"$work/patch.log")" >&2
        exit 1
    fi
    cargo test -q -p millrace-sim --test all s4_th3 -- --nocapture >"$work/$guard.log" 2>&1 || true
    patch --batch --silent -R -p1 <"$patch"
    found=$(grep -E '^seed [0-9]+ breaks ' "$work/$guard.log" | head -1 || true)
    if [ -z "$found" ]; then
        echo "$guard: no seed of $SEEDS finds that it is gone" >&2
        tail -5 "$work/$guard.log" >&2
        failed=1
        continue
    fi
    seed=$(echo "$found" | sed -E 's/^seed ([0-9]+) .*/\1/')
    invariant=$(echo "$found" | sed -E 's/^seed [0-9]+ breaks ([^:]+):.*/\1/')
    seeds=$(grep -oE '^[0-9]+ seeds' "$work/$guard.log" | cut -d' ' -f1)
    printf '%-28s %-8s %-8s %s\n' "$guard" "$seed" "$seeds" "$invariant"
done
exit $failed
