"""The CRDs of the projects that Loopwright works with, as their Go modules ship them.

An API server needs ten seconds of a core to take in megabytes of them. What it then keeps in etcd
depends on nothing but them and its version, so the first cluster's entries are kept and put into
the etcd of each later one before its API server starts.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import programs
from paths import HOME, Layout
from progress import run, wait_for

# Project -> its module, and where its CRDs are in it.
PROJECTS = {
    "kuberay": (programs.KUBERAY.module, ("config/crd/bases/*.yaml",)),
    "kserve": (
        programs.KSERVE.module,
        ("config/crd/full/*_*.yaml", "config/crd/full/clusterstoragecontainer/*_*.yaml"),
    ),
    "gateway": (
        programs.GATEWAY_API,
        ("config/crd/standard/gateway.networking.k8s.io_[!v]*.yaml",),
    ),
    # Its controllers do not run here; endpoints only write this kind.
    "keda": (programs.KEDA, ("config/crd/bases/keda.sh_scaledobjects.yaml",)),
    # The same: endpoints and our chart write its kinds for whoever runs the Prometheus operator.
    "prometheus": (
        programs.PROMETHEUS_OPERATOR,
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        ),
    ),
    # Examples for GitOps have their kinds.
    "argocd": (programs.ARGO_CD, ("manifests/crds/application-crd.yaml",)),
    "flux-sources": (
        programs.FLUX_SOURCES,
        ("config/crd/bases/*_gitrepositories.yaml", "config/crd/bases/*_ocirepositories.yaml"),
    ),
    "flux-helm": (programs.FLUX_HELM, ("config/crd/bases/*.yaml",)),
    "flux-kustomize": (programs.FLUX_KUSTOMIZE, ("config/crd/bases/*.yaml",)),
    "envoy": (
        programs.ENVOY_GATEWAY.module,
        ("charts/gateway-helm/charts/crds/crds/generated/*.yaml",),
    ),
}
CLUSTER = ("kuberay", "kserve", "gateway")
CONTROL_PLANE = (*CLUSTER, "keda", "prometheus")

STORED = "/registry/apiextensions.k8s.io/customresourcedefinitions/"
# `kubectl wait` and jsonpath fail while one has no conditions yet.
ESTABLISHED = (
    "{{range .items}}{{$name := .metadata.name}}{{range .status.conditions}}"
    '{{if and (eq .type "Established") (eq .status "True")}}{{$name}} {{end}}{{end}}{{end}}'
)


def files(project: str) -> list[Path]:
    """A project's CRDs, one file each."""
    module, patterns = PROJECTS[project]
    folder = programs.module_folder(module)
    return sorted(file for pattern in patterns for file in folder.glob(pattern))


def plant(layout: Layout, projects: Iterable[str]) -> None:
    """Puts what earlier clusters kept into a new etcd, whose API server must not run yet."""
    for project in projects:
        kept = _kept(project)
        if not kept.exists():
            continue
        for key, value in json.loads(kept.read_text()).items():
            _etcd(layout, "put", key=_encoded(key), value=value)
        _mark(layout, project)


def define(layout: Layout, project: str) -> None:
    """Makes a running cluster serve a project's kinds."""
    marker = _marker(layout, project)
    known = marker.exists() and marker.read_text() == _kept(project).name
    if known and all(_stored(layout, name) for name in _names(project)):
        return
    named = [word for file in files(project) for word in ("-f", str(file))]
    _kubectl(layout, "apply", "--server-side", "--force-conflicts", *named)
    wait_for(f"the CRDs of {project}", lambda: _served(layout, project))
    _keep(layout, project)
    _mark(layout, project)


def _names(project: str) -> list[str]:
    # Their files are named <group>_<plural>.
    parts = [file.stem.partition("_") for file in files(project)]
    return [f"{plural}.{group}" for group, _, plural in parts]


def _served(layout: Layout, project: str) -> bool:
    answer = _kubectl(layout, "get", "crd", f"-o=go-template={ESTABLISHED}")
    return set(_names(project)) <= set(answer.split())


def _stored(layout: Layout, name: str) -> list[dict[str, str]]:
    """etcd's entry of a CRD, if there is one."""
    found: list[dict[str, str]] = _etcd(layout, "range", key=_encoded(STORED + name)).get("kvs", [])
    return found


def _kept(project: str) -> Path:
    """The file with a project's entries, whose name tells all that they depend on."""
    hasher = hashlib.sha256(programs.KUBERNETES.encode())
    for file in files(project):
        hasher.update(file.name.encode() + b"\0" + file.read_bytes())
    return HOME / "crds" / f"{project}-{hasher.hexdigest()[:12]}.json"


def _keep(layout: Layout, project: str) -> None:
    entries = {}
    for name in _names(project):
        [entry] = _stored(layout, name)
        entries[STORED + name] = entry["value"]
    target = _kept(project)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Control planes of several tests may do this at the same time.
    part = target.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(entries))
    part.replace(target)


def _marker(layout: Layout, project: str) -> Path:
    return layout.state / "crds" / project


def _mark(layout: Layout, project: str) -> None:
    marker = _marker(layout, project)
    marker.parent.mkdir(exist_ok=True)
    marker.write_text(_kept(project).name)


def _kubectl(layout: Layout, *args: str) -> str:
    return run(programs.kubectl(), "--kubeconfig", layout.kubeconfig, *args)


def _etcd(layout: Layout, call: str, **body: str) -> Any:
    """Calls etcd's own HTTP API, whose keys and values are base64."""
    connection = http.client.HTTPConnection("127.0.0.1", layout.etcd_port, timeout=30)
    try:
        connection.request("POST", f"/v3/kv/{call}", json.dumps(body))
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
