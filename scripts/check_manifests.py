"""Our own rules for rendered manifests; the schemas are checked elsewhere.

    check_manifests.py OVERLAY rendered.yaml        names each broken rule, exit code 1 if any
    check_manifests.py --same one.yaml other.yaml   whether both declare the same objects
    check_manifests.py --containers rendered.yaml   what each container is given, as JSON: arguments, variables, files
"""

import json
import posixpath
import re
import sys

import yaml

SERVICES = {"spec-registry", "dispatcher", "worker", "validator", "deployer", "failure-analyzer", "projector", "query"}
# The one environment value of each overlay (S2-C2), and whether specs may carry their own plan.
OVERLAYS = {"dev-sandbox": ("dev-sandbox", "true"), "production": ("production", "false")}


def check(overlay, objects):
    """One sentence for each broken rule."""
    return [f"{name(found)}: {what}" for rule in OBJECT_RULES for found in objects for what in rule(found)] + \
           [sentence for rule in (services, workers, settings, mounts, claims, directories, broker, accounts, selected, disruption, leftovers)
            for sentence in rule(objects)] + environment(overlay, objects)


# Rules on one object.

def restricted(found):
    """The restricted Pod Security standard, with a high user id and a read-only root."""
    if pod := pod_of(found):
        context = pod.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or context.get("runAsUser", 0) < 10000:
            yield "must run as a user that is not root, with an id of 10000 or more"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield "needs seccompProfile RuntimeDefault"
        if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield "must not share a namespace of the host"
        if any("hostPath" in volume for volume in pod.get("volumes", [])):
            yield "must not mount a path of the host"
    for one in containers(found):
        context = one.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"container {one['name']} must refuse privilege escalation"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"container {one['name']} needs a read-only root"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"container {one['name']} must drop ALL capabilities and add none"


def account(found):
    if pod := pod_of(found):
        if pod.get("serviceAccountName", "default") == "default":
            yield "uses the default service account"
        if pod.get("automountServiceAccountToken") is not False:
            yield "must not mount a service account token"
    if found["kind"] == "ServiceAccount" and found.get("automountServiceAccountToken") is not False:
        yield "must not hand out its token"


def image(found):
    for one in containers(found):
        own = re.search(r"(^|/)millrace($|[:@])", one["image"])
        by_digest = re.search(r"@sha256:[0-9a-f]{64}$", one["image"])
        if not by_digest and (own or not re.search(r":\d+\.\d+[^:/@]*$", one["image"])):
            yield f"image {one['image']} must be named by digest, or by an exact version if it is not ours"


def probes(found):
    if found["kind"] not in ("Deployment", "StatefulSet"):
        return
    for one in containers(found):
        if missing := [probe for probe in ("startupProbe", "readinessProbe", "livenessProbe") if probe not in one]:
            yield f"container {one['name']} has no {', '.join(missing)}"
        elif action(one["readinessProbe"]) == action(one["livenessProbe"]):
            yield f"container {one['name']} asks the same question for readiness and liveness"


def action(probe):
    return probe.get("httpGet") or probe.get("exec") or probe.get("tcpSocket") or probe.get("grpc")


def resources(found):
    for one in containers(found):
        for bound in ("requests", "limits"):
            missing = {"cpu", "memory", "ephemeral-storage"} - set(one.get("resources", {}).get(bound, {}))
            if missing:
                yield f"container {one['name']} has no {bound} for {', '.join(sorted(missing))}"
    for volume in (pod_of(found) or {}).get("volumes", []):
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
            yield f"volume {volume['name']} has no sizeLimit"


def no_secret_values(found):
    if found["kind"] == "Secret":
        yield "secrets are made in the cluster, never written here"
    for one in containers(found):
        for entry in one.get("env", []):
            if "value" in entry and re.search(r"password$|token|secret$|seed$|database_url", entry["name"], re.I):
                yield f"container {one['name']} has {entry['name']} as plain text"


OBJECT_RULES = (restricted, account, image, probes, resources, no_secret_values)


# Rules on all of them.

def services(objects):
    deployments = {found["metadata"]["name"]: found for found in of_kind(objects, "Deployment")}
    if set(deployments) != SERVICES:
        yield f"Deployments and services differ: {sorted(set(deployments) ^ SERVICES)}"
    for service, found in deployments.items():
        if containers(found)[0].get("args") != ["run", service]:
            yield f"{name(found)}: must run `millrace run {service}`"
    # The one writer of the ledger, and the one whose pod holds the releases.
    for single in ("projector", "deployer"):
        spec = deployments.get(single, {}).get("spec", {})
        if spec.get("replicas") != 1 or spec.get("strategy", {}).get("type") != "Recreate":
            yield f"Deployment/{single}: must have one replica and the strategy Recreate"
    for namespace in of_kind(objects, "Namespace"):
        if namespace["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{name(namespace)}: must enforce the restricted Pod Security standard"


def workers(objects):
    """A change is checked by another worker than the one that made it (S4-ROLE)."""
    for found in of_kind(objects, "Deployment"):
        if found["metadata"]["name"] != "worker":
            continue
        if found["spec"].get("replicas", 1) < 2:
            yield f"{name(found)}: needs two replicas, because a change is checked by another worker"
        for one in containers(found):
            identity = [entry for entry in one.get("env", []) if entry["name"] == "MILLRACE_WORKER_ID"]
            if [field(entry) for entry in identity] != ["metadata.name"]:
                yield f"{name(found)}: MILLRACE_WORKER_ID must be the pod's name"


def settings(objects):
    """Every declared setting reaches a container, and every reference finds its setting."""
    declared = {(found["metadata"]["name"], key) for found in of_kind(objects, "ConfigMap") for key in found["data"]}
    used = set()
    for found in objects:
        for one in containers(found):
            for entry in one.get("env", []):
                if reference := entry.get("valueFrom", {}).get("configMapKeyRef"):
                    key = (reference["name"], reference["key"])
                    used.add(key)
                    if key not in declared and not reference.get("optional"):
                        yield f"{name(found)}: {entry['name']} refers to {key[0]}/{key[1]}, which is not declared"
        for volume in (pod_of(found) or {}).get("volumes", []):
            if "configMap" in volume:
                mounted = {key for key in declared if key[0] == volume["configMap"]["name"]}
                used |= mounted
                if not mounted:
                    yield f"{name(found)}: mounts the ConfigMap {volume['configMap']['name']}, which is not declared"
    for config_map, key in sorted(declared - used):
        yield f"ConfigMap/{config_map}: the setting {key} is declared and reaches no container"


def mounts(objects):
    """Every volume is mounted, and every mount has its volume."""
    for found in objects:
        pod = pod_of(found) or {}
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in found.get("spec", {}).get("volumeClaimTemplates", [])}
        mounted = {mount["name"] for one in containers(found) for mount in one.get("volumeMounts", [])}
        for volume in sorted(volumes ^ mounted):
            yield f"{name(found)}: the volume {volume} is declared but not mounted, or the other way round"


def claims(objects):
    """Every claimed volume is declared and used, and repositories are written by the deployer alone."""
    declared = {found["metadata"]["name"] for found in of_kind(objects, "PersistentVolumeClaim")}
    used = set()
    for found in objects:
        for volume in (pod_of(found) or {}).get("volumes", []):
            if "persistentVolumeClaim" not in volume:
                continue
            claim = volume["persistentVolumeClaim"]["claimName"]
            used.add(claim)
            writes = [mount for one in containers(found) for mount in one.get("volumeMounts", [])
                      if mount["name"] == volume["name"] and not mount.get("readOnly")]
            if claim == "repositories" and writes and found["metadata"]["name"] != "deployer":
                yield f"{name(found)}: only the deployer writes to repositories"
    for claim in sorted(declared ^ used):
        yield f"PersistentVolumeClaim/{claim}: declared and used do not agree"


def directories(objects):
    """The root is read-only, so a directory that is written to lies on a volume."""
    for found in objects:
        volumes = {volume["name"]: volume for volume in (pod_of(found) or {}).get("volumes", [])}
        for one in containers(found):
            writable = [mount["mountPath"] for mount in one.get("volumeMounts", []) if not mount.get("readOnly")
                        and {"emptyDir", "persistentVolumeClaim"} & set(volumes.get(mount["name"], {}))]
            for entry in one.get("env", []):
                if re.fullmatch("MILLRACE_.*_DIRECTORY|HOME", entry["name"]):
                    if not any(posixpath.commonpath([path, entry["value"]]) == path for path in writable):
                        yield f"{name(found)}: {entry['name']} is not on a volume that can be written to"


def broker(objects):
    """The server finds its permissions and the keys in them, and streams have as many copies as there are servers."""
    config = {found["metadata"]["name"]: found["data"] for found in of_kind(objects, "ConfigMap")}
    for found in of_kind(objects, "StatefulSet"):
        if found["metadata"]["name"] != "nats":
            continue
        copies = config.get("millrace-settings", {}).get("MILLRACE_NATS_REPLICAS")
        if copies != str(found["spec"]["replicas"]):
            yield f"{name(found)}: {found['spec']['replicas']} servers, but MILLRACE_NATS_REPLICAS is {copies}"
        files = config.get("nats-config", {})
        included = re.findall(r"^include (\S+)$", files.get("nats.conf", ""), re.M)
        if included != ["auth.conf"] or "auth.conf" not in files:
            yield f"{name(found)}: nats.conf must include auth.conf from the same ConfigMap"
        sources = [source.get("secretRef", {}).get("name") for one in containers(found) for source in one.get("envFrom", [])]
        if sources != ["nats-public-keys"]:
            yield f"{name(found)}: the public keys must come from the Secret nats-public-keys"


def accounts(objects):
    declared = {found["metadata"]["name"] for found in of_kind(objects, "ServiceAccount")}
    used = [pod["serviceAccountName"] for pod in map(pod_of, objects) if pod and "serviceAccountName" in pod]
    for account_name in sorted(set(used) ^ declared):
        yield f"ServiceAccount/{account_name}: declared and used do not agree"
    for account_name in sorted({one for one in used if used.count(one) > 1}):
        yield f"ServiceAccount/{account_name}: each workload has an account of its own"


def selected(objects):
    """Each pod is under a policy for both directions, and each edge that it needs is there."""
    policies = of_kind(objects, "NetworkPolicy")
    for found in objects:
        if not pod_of(found):
            continue
        labels = found["spec"]["template"]["metadata"]["labels"]
        over = [policy["spec"] for policy in policies if matches(policy["spec"]["podSelector"], labels)]
        for direction in ("Ingress", "Egress"):
            if not any(direction in spec["policyTypes"] for spec in over):
                yield f"{name(found)}: no NetworkPolicy limits its {direction.lower()}"
        needed = {"MILLRACE_NATS_URL": 4222, "MILLRACE_DATABASE_URL": 5432}
        variables = {entry["name"] for one in containers(found) for entry in one.get("env", [])}
        open_ports = {port["port"] for spec in over for edge in spec.get("egress", []) for port in edge.get("ports", [])}
        for variable, port in needed.items():
            if variable in variables and port not in open_ports:
                yield f"{name(found)}: has {variable} but no NetworkPolicy lets it reach port {port}"
            if variable not in variables and port in open_ports:
                yield f"{name(found)}: may reach port {port} without having {variable}"


def disruption(objects):
    budgets = [found["spec"]["selector"] for found in of_kind(objects, "PodDisruptionBudget")]
    for found in of_kind(objects, "Deployment", "StatefulSet"):
        labels = found["spec"]["template"]["metadata"]["labels"]
        if sum(matches(selector, labels) for selector in budgets) != 1:
            yield f"{name(found)}: needs exactly one PodDisruptionBudget"


def leftovers(objects):
    """A Service leads somewhere, to a port that is there."""
    pods = [found for found in objects if pod_of(found)]
    for service in of_kind(objects, "Service"):
        behind = [found for found in pods
                  if matches({"matchLabels": service["spec"]["selector"]}, found["spec"]["template"]["metadata"]["labels"])]
        ports = {port["name"] for found in behind for one in containers(found) for port in one.get("ports", [])}
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"{name(service)}: its port {port['targetPort']} leads nowhere"


def environment(overlay, objects):
    """S2-C2: one environment value everywhere."""
    expected, recipe = OVERLAYS[overlay]
    broken = []
    for found in of_kind(objects, "ConfigMap"):
        for key, wanted in (("MILLRACE_ENVIRONMENT", expected), ("MILLRACE_WORKER_RECIPE", recipe)):
            if found["data"].get(key, wanted) != wanted:
                broken.append(f"{name(found)}: {key} must be {wanted}")
    for found in objects:
        for one in containers(found):
            entry = [entry for entry in one.get("env", []) if entry["name"] == "MILLRACE_ENVIRONMENT"]
            if any("value" in one for one in entry):
                broken.append(f"{name(found)}: MILLRACE_ENVIRONMENT must come from the ConfigMap")
    return broken


# Reading.

def of_kind(objects, *kinds):
    return [found for found in objects if found["kind"] in kinds]


def name(found):
    return f"{found['kind']}/{found['metadata']['name']}"


def pod_of(found):
    return found.get("spec", {}).get("template", {}).get("spec")


def containers(found):
    pod = pod_of(found) or {}
    return pod.get("containers", []) + pod.get("initContainers", [])


def field(entry):
    return entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")


def given(objects):
    """What each container is given; a variable from a Secret or a field says from which."""
    config = {found["metadata"]["name"]: found["data"] for found in of_kind(objects, "ConfigMap")}
    for found in objects:
        volumes = {volume["name"]: volume for volume in (pod_of(found) or {}).get("volumes", [])}
        for one in containers(found):
            environment, files = {}, {}
            for entry in one.get("env", []):
                source = entry.get("valueFrom", {})
                if reference := source.get("configMapKeyRef"):
                    value = config[reference["name"]].get(reference["key"])
                    if value is not None:
                        environment[entry["name"]] = {"value": value}
                elif reference := source.get("secretKeyRef"):
                    environment[entry["name"]] = {"secret": f"{reference['name']}/{reference['key']}"}
                else:
                    environment[entry["name"]] = {"field": field(entry)} if source else {"value": entry["value"]}
            for mount in one.get("volumeMounts", []):
                volume = volumes.get(mount["name"], {})
                names = config[volume["configMap"]["name"]] if "configMap" in volume else {}
                files |= {posixpath.join(mount["mountPath"], file): text for file, text in names.items()}
            yield {"workload": name(found), "image": one["image"], "arguments": one.get("args", []),
                   "replicas": found["spec"].get("replicas", 1), "environment": environment, "files": files}


def matches(selector, labels):
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def load(path):
    with open(path) as file:
        return [found for found in yaml.safe_load_all(file) if found]


def same(one, other):
    """Objects that differ between two renderings; the order of lists of items does not count."""
    first, second = ({name(found): unordered(found) for found in load(path)} for path in (one, other))
    return sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))


def unordered(value):
    if isinstance(value, dict):
        return {key: unordered(item) for key, item in value.items()}
    if isinstance(value, list):
        items = [unordered(item) for item in value]
        return sorted(items, key=yaml.dump) if all(isinstance(item, dict) for item in items) else items
    return value


def main(arguments):
    if arguments[0] == "--same":
        if differ := same(*arguments[1:]):
            raise SystemExit(f"render_manifests.py and kustomize differ on: {', '.join(differ)}")
        return
    if arguments[0] == "--containers":
        json.dump(list(given(load(arguments[1]))), sys.stdout)
        return
    overlay, path = arguments
    objects = load(path)
    if broken := check(overlay, objects):
        raise SystemExit("\n".join(f"{overlay}: {sentence}" for sentence in broken))
    print(f"{overlay}: {len(objects)} objects, all schemas and rules hold")


if __name__ == "__main__":
    main(sys.argv[1:])
