"""The small children of a job: configuration, mailbox, access, network."""

from __future__ import annotations

import json

from loopwright.api import names
from loopwright.api.runconfig import RunConfig
from loopwright.api.trainingjob import KIND
from loopwright.desired.context import JobContext, Manifest


def support(job: JobContext) -> list[Manifest]:
    """Everything that an attempt's RayJob refers to.

    The RoleBinding is last: the API server reads the Role when one is bound, to see that nobody
    gives away more than is theirs. The others may be applied at once.
    """
    return [config(job), report(job), network_policy(job), *access(job)]


def config(job: JobContext) -> Manifest:
    """The runtime's configuration. Not immutable: head and pod may change between attempts."""
    run = RunConfig(
        name=job.name,
        namespace=job.namespace,
        uid=job.uid,
        spec=job.spec,
        image=job.image,
        output_uri=job.output_uri,
        checkpoint_uri=job.checkpoint_uri,
    )
    wire = run.wire()
    data = {}
    script = job.spec.script
    if script is not None and script.inline is not None:
        data[names.INLINE_SCRIPT_KEY] = script.inline
        # Not twice: together the two could exceed what etcd takes.
        wire["spec"]["script"]["inline"] = f"# see {names.INLINE_SCRIPT_KEY}"
    data[names.CONFIG_KEY] = json.dumps(wire, sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": job.metadata(names.config_name(job.name)),
        "data": data,
    }


def report(job: JobContext) -> Manifest:
    """The mailbox. Its data belongs to the pods, so none is applied here."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": job.metadata(names.report_name(job.name)),
    }


def access(job: JobContext) -> list[Manifest]:
    """An account that may patch the mailbox, and nothing else in the world."""
    name = names.runtime_account_name(job.name)
    group = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": job.metadata(name),
            "automountServiceAccountToken": False,
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": job.metadata(name),
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["configmaps"],
                    "resourceNames": [names.report_name(job.name)],
                    "verbs": ["patch"],
                }
            ],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": job.metadata(name),
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": job.namespace}],
        },
    ]


def network_policy(job: JobContext) -> Manifest:
    """Who may reach a Ray head runs code there: only the job itself and KubeRay may."""
    own = {names.LABEL_KIND: KIND, names.LABEL_NAME: job.name}
    kuberay = {"app.kubernetes.io/name": "kuberay"}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": job.metadata(names.network_policy_name(job.name)),
        "spec": {
            "podSelector": {"matchLabels": own},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": own}}]},
                {
                    "from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": kuberay}}],
                    "ports": [{"port": 8265}, {"port": 52365}],
                },
                {"from": [{"namespaceSelector": {}}], "ports": [{"port": 8080}]},
            ],
        },
    }
