"""Builds stages, on which scenarios are played."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from fake_world import Namespace
from kubectl import Kubectl
from operators import Deployment, Zygote, kubeconfig
from proxy import Proxy
from scenario import Ending, Scenario, Stage

from perf.api import Api

# Whether the wheel comes by while a test counts is a matter of luck, and what a test waits for must
# not come about by it: an event that is missed would be found after all.
NO_WHEEL: Final = {"resync_seconds": "1000000"}


@dataclass
class Theatre:
    """Builds stages, and remembers how scenarios end without faults."""

    admin: Kubectl
    token: str
    zygote: Zygote
    folder: Path
    calm: dict[str, Ending]

    @contextlib.asynccontextmanager
    async def stage(
        self, scenario: Scenario, mutant: str = "", **settings: str
    ) -> AsyncIterator[Stage]:
        """A namespace of its own with a proxy and a running operator that watches only it."""
        name = f"f-{uuid.uuid4().hex[:8]}"
        cluster = yaml.safe_load(self.admin.kubeconfig.read_text())["clusters"][0]["cluster"]
        async with (
            Api(self.admin.kubeconfig, 20) as api,
            Proxy(cluster["server"], cluster["certificate-authority"]) as proxy,
        ):
            namespace = Namespace(api, name)
            await self._prepare(api, name)
            log = self.folder / f"{name}.log"
            own = {"namespace": name, "namespaces": name, "identity": "replica"}
            own |= {**NO_WHEEL, **scenario.settings, **settings}
            ports = {"metrics_port": "0", "health_port": "0"}
            config = kubeconfig(proxy.url, self.token, self.folder / f"{name}.kubeconfig")
            log.touch()
            deployment = Deployment(self.zygote, config, log, {**ports, **own}, mutant)
            async with deployment:
                yield Stage(namespace, proxy, deployment, scenario, scenario.world(namespace))
            await api.send("DELETE", f"/api/v1/namespaces/{name}")

    async def _prepare(self, api: Api, name: str) -> None:
        """A namespace in which the operator may keep its Lease."""
        head = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await api.send("POST", "/api/v1/namespaces", head)
        group = "rbac.authorization.k8s.io"
        rule = {
            "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
            "verbs": ["get", "create", "update"],
        }  # fmt: skip
        meta = {"name": "lease", "namespace": name}
        role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": [rule]}
        subject = {"kind": "ServiceAccount", "name": "loopwright", "namespace": "loopwright-system"}
        reference = {"apiGroup": group, "kind": "Role", "name": "lease"}
        binding = {"roleRef": reference, "subjects": [subject], "metadata": meta}
        binding |= {"apiVersion": f"{group}/v1", "kind": "RoleBinding"}
        for kind, obj in (("roles", role), ("rolebindings", binding)):
            await api.send("POST", f"/apis/{group}/v1/namespaces/{name}/{kind}", obj)

    async def calmly(self, scenario: Scenario) -> Ending:
        """How a scenario ends when nothing goes wrong."""
        if scenario.name not in self.calm:
            async with self.stage(scenario) as stage:
                self.calm[scenario.name] = await stage.play()
            self.calm[scenario.name].check(self.calm[scenario.name], scenario)
        return self.calm[scenario.name]
