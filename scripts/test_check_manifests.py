"""Each rule of check_manifests.py fires when the manifests break it."""

import copy
import pathlib
import unittest

import check_manifests
import render_manifests

OVERLAYS = pathlib.Path(__file__).parent.parent / "deploy/k8s/overlays"
PRODUCTION = render_manifests.render(OVERLAYS / "production")


def container(found):
    return found["spec"]["template"]["spec"]["containers"][0]


def pod(found):
    return found["spec"]["template"]["spec"]


def variable(found, name):
    return next(entry for entry in container(found)["env"] if entry["name"] == name)


def mount(found, name):
    return next(entry for entry in container(found)["volumeMounts"] if entry["name"] == name)


# What is done to one object, and what the check must then say.
BROKEN = [
    ("Deployment/worker", lambda one: pod(one)["securityContext"].update(runAsNonRoot=False), "not root"),
    ("Deployment/worker", lambda one: pod(one)["securityContext"].update(runAsUser=0), "not root"),
    ("Deployment/worker", lambda one: pod(one)["securityContext"].pop("seccompProfile"), "seccompProfile"),
    ("Deployment/worker", lambda one: pod(one).update(hostNetwork=True), "namespace of the host"),
    ("Deployment/worker", lambda one: pod(one)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "path of the host"),
    ("Job/migrate", lambda one: container(one)["securityContext"].pop("allowPrivilegeEscalation"), "privilege escalation"),
    ("StatefulSet/nats", lambda one: container(one)["securityContext"].update(readOnlyRootFilesystem=False), "read-only root"),
    ("StatefulSet/nats", lambda one: container(one)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]), "drop ALL"),
    ("Deployment/query", lambda one: pod(one).pop("serviceAccountName"), "default service account"),
    ("Deployment/query", lambda one: pod(one).update(serviceAccountName="worker"), "account of its own"),
    ("Deployment/query", lambda one: pod(one).update(automountServiceAccountToken=True), "token"),
    ("ServiceAccount/query", lambda one: one.update(automountServiceAccountToken=True), "hand out its token"),
    ("Deployment/query", lambda one: container(one).update(image="registry.invalid/millrace:1.0.0"), "by digest"),
    ("StatefulSet/nats", lambda one: container(one).update(image="docker.io/library/nats:latest"), "exact version"),
    ("StatefulSet/nats", lambda one: container(one).update(image="docker.io/library/nats"), "exact version"),
    ("Deployment/query", lambda one: container(one).pop("livenessProbe"), "no livenessProbe"),
    ("Deployment/query", lambda one: container(one)["livenessProbe"]["httpGet"].update(path="/readyz"), "same question"),
    ("Deployment/query", lambda one: container(one)["resources"]["limits"].pop("memory"), "limits for memory"),
    ("Deployment/query", lambda one: pod(one)["volumes"].append({"name": "x", "emptyDir": {}}), "sizeLimit"),
    ("ServiceAccount/query", lambda one: one.update(kind="Secret"), "never written here"),
    ("Deployment/query", lambda one: variable(one, "MILLRACE_DATABASE_URL").update(value="postgres://x"), "plain text"),
    ("Deployment/query", lambda one: one["metadata"].update(name="other"), "services differ"),
    ("Deployment/query", lambda one: container(one).update(args=["run", "worker"]), "millrace run query"),
    ("Deployment/projector", lambda one: one["spec"].update(replicas=2), "one replica"),
    ("Deployment/projector", lambda one: one["spec"].pop("strategy"), "Recreate"),
    ("Deployment/deployer", lambda one: one["spec"].update(replicas=2), "one replica"),
    ("Deployment/worker", lambda one: one["spec"].update(replicas=1), "two replicas"),
    ("Deployment/worker", lambda one: variable(one, "MILLRACE_WORKER_ID").update(value="worker", valueFrom={}), "the pod's name"),
    ("Deployment/worker", lambda one: mount(one, "work").update(readOnly=True), "can be written to"),
    ("Deployment/worker", lambda one: variable(one, "MILLRACE_WORKER_DIRECTORY").update(value="/work"), "can be written to"),
    ("Deployment/worker", lambda one: mount(one, "repositories").pop("readOnly"), "only the deployer writes"),
    ("PersistentVolumeClaim/deployer", lambda one: one["metadata"].update(name="other"), "used do not agree"),
    ("StatefulSet/nats", lambda one: one["spec"].update(replicas=1), "MILLRACE_NATS_REPLICAS is 3"),
    ("StatefulSet/nats", lambda one: container(one).pop("envFrom"), "nats-public-keys"),
    ("ConfigMap/nats-config", lambda one: one["data"].pop("auth.conf"), "must include auth.conf"),
    ("Namespace/millrace", lambda one: one["metadata"].pop("labels"), "restricted Pod Security"),
    ("ConfigMap/millrace-settings", lambda one: one["data"].update(MILLRACE_UNUSED="1"), "reaches no container"),
    ("ConfigMap/millrace-settings", lambda one: one["data"].pop("MILLRACE_NATS_URL"), "is not declared"),
    ("ConfigMap/nats-config", lambda one: one["metadata"].update(name="other"), "is not declared"),
    ("Deployment/query", lambda one: container(one)["volumeMounts"].pop(0), "not mounted"),
    ("NetworkPolicy/default-deny", lambda one: one["spec"].update(policyTypes=["Egress"]), "limits its ingress"),
    ("NetworkPolicy/to-nats", lambda one: one["spec"].update(egress=[]), "reach port 4222"),
    ("Deployment/worker", lambda one: one["spec"]["template"]["metadata"]["labels"].update({"millrace.dev/ledger-client": "true"}), "without having"),
    ("PodDisruptionBudget/query", lambda one: one["spec"]["selector"]["matchLabels"].update({"app.kubernetes.io/name": "x"}), "PodDisruptionBudget"),
    ("Service/query", lambda one: one["spec"]["ports"][0].update(targetPort="http"), "leads nowhere"),
    ("ConfigMap/millrace-settings", lambda one: one["data"].update(MILLRACE_ENVIRONMENT="staging"), "must be production"),
    ("ConfigMap/millrace-settings", lambda one: one["data"].update(MILLRACE_WORKER_RECIPE="true"), "must be false"),
    ("Deployment/query", lambda one: variable(one, "MILLRACE_ENVIRONMENT").update(value="x"), "come from the ConfigMap"),
]


class Rules(unittest.TestCase):
    def test_the_overlays_keep_every_rule(self):
        for overlay in OVERLAYS.iterdir():
            self.assertEqual(check_manifests.check(overlay.name, render_manifests.render(overlay)), [])

    def test_each_rule_fires(self):
        for target, damage, sentence in BROKEN:
            with self.subTest(target=target, sentence=sentence):
                objects = copy.deepcopy(PRODUCTION)
                damage(next(one for one in objects if check_manifests.name(one) == target))
                found = "\n".join(check_manifests.check("production", objects))
                self.assertIn(sentence, found)


if __name__ == "__main__":
    unittest.main()
