#!/usr/bin/env bash
# Checks the Kubernetes manifests: each overlay is rendered, held against the schemas of a fixed Kubernetes
# version (unknown fields refused) and against our own rules. Where kubectl is installed, the renderer is
# compared with the real kustomize, too.
set -euo pipefail
cd "$(dirname "$0")/.."

kubernetes=1.34.1
python=.tools/venv/bin/python
[ -x .tools/venv/bin/kubernetes-validate ] || { echo 'the manifest checker is missing: run `make setup`' >&2; exit 1; }
export PYTHONDONTWRITEBYTECODE=1
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT

"$python" scripts/test_check_manifests.py --quiet
for overlay in deploy/k8s/overlays/*/; do
  name=$(basename "$overlay")
  "$python" scripts/render_manifests.py "$overlay" >"$rendered/$name.yaml"
  if ! .tools/venv/bin/kubernetes-validate --strict --kubernetes-version "$kubernetes" "$rendered/$name.yaml" >"$rendered/log" 2>&1; then
    grep -v ' passed for resource ' "$rendered/log" >&2
    exit 1
  fi
  "$python" scripts/check_manifests.py "$name" "$rendered/$name.yaml"
  if command -v kubectl >/dev/null 2>&1; then
    kubectl kustomize "$overlay" >"$rendered/kustomize.yaml"
    "$python" scripts/check_manifests.py --same "$rendered/$name.yaml" "$rendered/kustomize.yaml"
  else
    echo 'SKIPPED: kubectl is not installed; the renderer was NOT compared with kustomize'
  fi
done
