"""Values of Secrets appear nowhere but in Secrets, whatever happens to who names them."""

from __future__ import annotations

import httpx
from fake_kuberay import FakeKubeRay
from replicas import Replicas

from auditlog import AuditLog
from eventually import eventually
from seeded import Seeds, left_in


def test_no_value_of_a_secret_is_told(
    replicas: Replicas, kuberay: FakeKubeRay, audit: AuditLog
) -> None:
    operator, seeds, mark = replicas.lead(), Seeds(), audit.mark()
    kuberay.apply(seeds.secret("keys"))
    output = {"uri": "s3://bucket/x", "secretRef": {"name": "keys"}}
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "TOKEN"}}}]
    common = {"output": output, "env": env, "envFrom": [{"secretRef": {"name": "keys"}}]}
    # One that succeeds, one that fails, one that waits for another Secret.
    kuberay.create("good", **common)
    kuberay.create("bad", **common)
    kuberay.create("blocked", output={**output, "secretRef": {"name": "missing"}})
    kuberay.finish("good")
    kuberay.rayjob("bad-a1")
    error = {"cause": "Application", "reason": "StorageRefused", "message": "access denied"}
    kuberay.says("bad-a1", "Running", "RUNNING")
    kuberay.reports("bad", 1, "Failed", error=error)
    kuberay.says("bad-a1", "Failed", "FAILED")
    kuberay.phase("bad", "Failed")
    eventually("the word", lambda: "missing" in str(kuberay.status("blocked").get("conditions")))
    places = {
        "log": operator.log.read_text(),
        "metrics": httpx.get(f"http://127.0.0.1:{operator.metrics_port}/metrics", timeout=60).text,
        "audit log": "\n".join(map(str, audit.writes(mark))),
        **dict(left_in(kuberay.api, kuberay.namespace)),
    }
    assert len(places) > 10
    assert seeds.found(places) == []
    # What is looked for can be found: it is in the Secret.
    stored = kuberay.api.run("get", "secret", "keys", "-n", kuberay.namespace, "-o", "json")
    assert len(seeds.found({"Secret": stored})) == len(seeds.values)
