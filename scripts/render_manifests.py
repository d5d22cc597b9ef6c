"""Renders a kustomize folder without kustomize: exactly the features that deploy/k8s uses.

    render_manifests.py deploy/k8s/overlays/dev-sandbox > all.yaml

Resources, configMapGenerator (no hashes), strategic-merge patches, namespace, labels, replicas, images.
Anything else in a kustomization.yaml is refused rather than ignored.
"""

import copy
import pathlib
import sys

import yaml

KNOWN = {"apiVersion", "kind", "namespace", "labels", "resources", "generatorOptions",
         "configMapGenerator", "patches", "replicas", "images"}
CLUSTER_KINDS = {"Namespace"}
# What tells the items of a list apart when a patch meets it; other lists are replaced as a whole.
MERGE_KEYS = {"containers": "name", "initContainers": "name", "volumes": "name", "env": "name",
              "ports": "containerPort", "volumeMounts": "mountPath", "topologySpreadConstraints": "topologyKey"}


def render(folder):
    """Every object that `folder` declares."""
    folder = pathlib.Path(folder)
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = set(kustomization) - KNOWN
    if unknown:
        raise SystemExit(f"{folder}/kustomization.yaml: this renderer does not know {sorted(unknown)}")
    options = kustomization.get("generatorOptions", {})
    if kustomization.get("configMapGenerator") and options != {"disableNameSuffixHash": True}:
        raise SystemExit(f"{folder}/kustomization.yaml: generatorOptions must be disableNameSuffixHash: true")

    objects = []
    for entry in kustomization.get("resources", []):
        path = folder / entry
        objects += render(path) if path.is_dir() else load(path)
    for generator in kustomization.get("configMapGenerator", []):
        add_config_map(objects, folder, generator)
    for entry in kustomization.get("patches", []):
        apply_patch(objects, load(folder / entry["path"])[0], entry.get("target"))
    set_namespace(objects, kustomization.get("namespace"))
    for entry in kustomization.get("labels", []):
        add_labels(objects, entry)
    for entry in kustomization.get("replicas", []):
        chosen(objects, lambda found: found["metadata"]["name"] == entry["name"] and "replicas" in found.get("spec", {}),
               entry["name"])[0]["spec"]["replicas"] = entry["count"]
    for entry in kustomization.get("images", []):
        set_image(objects, entry)
    return objects


def load(path):
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def chosen(objects, wanted, what):
    found = [one for one in objects if wanted(one)]
    if not found:
        raise SystemExit(f"nothing matches {what}")
    return found


def add_config_map(objects, folder, generator):
    data = dict(literal.split("=", 1) for literal in generator.get("literals", []))
    data |= {pathlib.Path(name).name: (folder / name).read_text() for name in generator.get("files", [])}
    name, behavior = generator["name"], generator.get("behavior", "create")
    if behavior == "create":
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
        return
    existing = chosen(objects, lambda one: one["kind"] == "ConfigMap" and one["metadata"]["name"] == name, name)[0]
    existing["data"] = existing["data"] | data if behavior == "merge" else data


def apply_patch(objects, patch, target):
    if target is None:
        name = patch["metadata"]["name"]
        targets = chosen(objects, lambda one: one["kind"] == patch["kind"] and one["metadata"]["name"] == name, name)
    else:
        label, value = target["labelSelector"].split("=")
        targets = chosen(objects, lambda one: one["kind"] == target["kind"]
                         and one["metadata"].get("labels", {}).get(label) == value, target)
    for found in targets:
        name = found["metadata"]["name"]
        merge(found, patch)
        found["metadata"]["name"] = name


def merge(base, patch):
    """The patch's value wins; maps and keyed lists are merged item by item."""
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        elif isinstance(value, list) and isinstance(base.get(key), list) and key in MERGE_KEYS:
            merge_list(base[key], value, MERGE_KEYS[key])
        else:
            base[key] = copy.deepcopy(value)


def merge_list(base, patch, merge_key):
    for item in patch:
        same = [one for one in base if one.get(merge_key) == item.get(merge_key)]
        if same:
            merge(same[0], item)
        else:
            base.append(copy.deepcopy(item))


def set_namespace(objects, namespace):
    for found in objects if namespace else []:
        if found["kind"] not in CLUSTER_KINDS:
            found["metadata"]["namespace"] = namespace


def add_labels(objects, entry):
    for found in objects:
        places = [found["metadata"]]
        spec = found.get("spec", {})
        if entry.get("includeTemplates"):
            places += [spec["template"]["metadata"]] if "template" in spec else []
            places += [claim["metadata"] for claim in spec.get("volumeClaimTemplates", [])]
        for metadata in places:
            metadata["labels"] = metadata.get("labels", {}) | entry["pairs"]


def set_image(objects, entry):
    for container in (one for found in objects for one in containers(found)):
        if container["image"] == entry["name"]:
            end = f"@{entry['digest']}" if "digest" in entry else f":{entry['newTag']}"
            container["image"] = entry.get("newName", entry["name"]) + end


def containers(found):
    pod = found.get("spec", {}).get("template", {}).get("spec", {})
    return pod.get("containers", []) + pod.get("initContainers", [])


if __name__ == "__main__":
    yaml.safe_dump_all(render(sys.argv[1]), sys.stdout, sort_keys=False)
