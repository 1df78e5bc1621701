"""Every manifest that is shipped, and all that the charts render from values that pages show."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import rbac_table
import yaml
from doc_pages import CURRENT, blocks, named
from dry_run import dry_run, spaces
from helm import CHART, CRDS, Helm
from install import LOCAL
from kubectl import ROOT, Kubectl, KubectlError
from test_docs_commands import commands

from controlplane import crds
from loopwright.api import kinds

Values = dict[str, Any]

RELEASE, NAMESPACE = "loopwright", "manifests"
WATCHED = ("manifests-a", "manifests-b")
IMAGES = ("operator", "runtime", "serving", "torchServing")
DIGEST = "sha256:" + "ab" * 32
MONITORED = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
PEER = {"podSelector": {"matchLabels": {"app": "prometheus"}}}
MATRIX: dict[str, Values] = {
    "defaults": {},
    "everything": {
        "replicas": 3, "metrics": MONITORED, "servingRuntimes": {"create": True},
        "userRoles": {"adminsApprove": True}, "dashboards": {"enabled": True},
        "networkPolicy": {"metricsFrom": [PEER]},
        "console": {
            "enabled": True, "namespaces": list(WATCHED), "from": [PEER], "egress": [{}],
            "route": {"enabled": True, "parentRefs": [{"name": "main"}],
                      "hostnames": ["ml.example.com"]},
        },
        "settings": {"gateway": "gateways/main", "gatewayFeatures": ["A", "B"]},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    },
    "nothing": {
        "replicas": 0, "serviceAccount": {"create": False}, "rbac": {"create": False},
        "userRoles": {"create": False}, "admissionPolicies": {"create": False},
        "networkPolicy": {"enabled": False}, "resources": {"requests": None, "limits": None},
    },
    "some namespaces": {"watchNamespaces": list(WATCHED)},
    "its own namespace": {"watchNamespaces": [NAMESPACE, *WATCHED]},
    "digests": {"images": {
        one: {"digest": DIGEST} for one in IMAGES
    }},
    "scheduling": {
        "replicas": 2, "nodeSelector": {"pool": "system"}, "priorityClassName": "p",
        "tolerations": [{"key": "system", "operator": "Exists"}], "podLabels": {"team": "ml"},
        "podAnnotations": {"a": "b"}, "images": {"pullSecrets": [{"name": "registry"}]},
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "podAffinityTerm": {"topologyKey": "zone"}}
        ]}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
             "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"a": "b"}}},
        ],
        "podDisruptionBudget": {"minAvailable": "50%"},
    },
    "closed": {"networkPolicy": {"egress": [
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 6443, "protocol": "TCP"}]}
    ]}},
    "openshift": {"podSecurityContext": {"runAsUser": None}, "fullnameOverride": "ml"},
    "large numbers": {"settings": {"qps": 1000000, "burst": 10000000, "resyncSeconds": 86400}},
}  # fmt: skip


class Given(NamedTuple):
    """What Helm is given besides the chart."""

    values: Values
    options: tuple[str, ...] = ()


def on_pages() -> Iterator[tuple[str, Given]]:
    """All values that pages show, as a file or by --set, each with where it is."""
    for page in CURRENT:
        for text in blocks(page, "yaml"):
            for one in yaml.safe_load_all(text):
                if not {"kind", "spec"} & one.keys():
                    yield named(page), Given(one)
        for words in commands(page):
            if str(CHART.relative_to(ROOT)) in words and "--set" in words:
                pairs = [pair for pair in itertools.pairwise(words) if pair[0] == "--set"]
                yield named(page), Given({}, tuple(word for pair in pairs for word in pair))


def in_examples() -> Iterator[tuple[str, Given]]:
    """Those of Flux's HelmReleases and Argo CD's Applications."""
    for file in sorted((ROOT / "examples" / "gitops").rglob("*.yaml")):
        for one in yaml.safe_load_all(file.read_text()):
            spec = one.get("spec", {})
            helm = spec.get("source", {}).get("helm", {})
            found = spec.get("values") or helm.get("valuesObject")
            if found is not None:
                yield str(file.relative_to(ROOT)), Given(found)


OURS = ("tools/install.py", Given(LOCAL))
SETS = {name: Given(values) for name, values in MATRIX.items()} | {
    f"{where}-{number}": given
    for number, (where, given) in enumerate((*on_pages(), *in_examples(), OURS))
}


@pytest.fixture(scope="module")
def full(api: Kubectl) -> Kubectl:
    """An API server with all kinds and namespaces that manifests may name."""
    named_ = [one for given in SETS.values() for one in given.values.get("watchNamespaces", ())]
    spaces(api, NAMESPACE, "loopwright-system", "vision", "speech", *named_)
    api.apply(*crds("prometheus"))
    api.wait_for_crds()
    return api


def test_values_that_are_shown_are_found() -> None:
    places = {name.rpartition("-")[0] for name in SETS}
    for place in (
        "README.md", "docs/guides/install.md", "docs/guides/air-gapped.md", "tools/install.py",
        "examples/gitops/argocd/loopwright.yaml", "examples/gitops/flux/loopwright.yaml",
    ):  # fmt: skip
        assert place in places
    assert any("--set" in given.options for given in SETS.values())


def lint(chart: Path, given: Given) -> None:
    answer = Helm().run("lint", "--strict", chart, *given.options, values=given.values)
    assert "0 chart(s) failed" in answer
    assert "WARNING" not in answer


@pytest.mark.parametrize("name", SETS)
def test_what_is_rendered_is_valid(full: Kubectl, name: str) -> None:
    given = SETS[name]
    lint(CHART, given)
    text = Helm().template(RELEASE, CHART, NAMESPACE, given.values, *given.options)
    assert "1e+" not in text
    objects = [one for one in yaml.safe_load_all(text) if one]
    assert dry_run(full, text=text) == len(objects)


def test_the_crds_are_valid(api: Kubectl) -> None:
    lint(CRDS, Given({}))
    text = Helm().template("crds", CRDS, NAMESPACE, {})
    assert dry_run(api, text=text) == len(kinds.KINDS)


@pytest.mark.parametrize("watched", [[], [WATCHED[0]]], ids=["all namespaces", "one"])
def test_namespaces_are_seen_only_where_some_are_watched(watched: list[str]) -> None:
    text = Helm().template(RELEASE, CHART, NAMESPACE, {"watchNamespaces": watched})
    found = rbac_table.grants(yaml.safe_load_all(text), (NAMESPACE, "loopwright"))
    verbs = [one.verb for one in found if (one.scope, one.resource) == ("cluster", "namespaces")]
    assert verbs == (["list", "watch"] if watched else [])


# What kustomize reads, and what other tests judge with the kinds that it needs.
APART = ("kustomization.yaml", "deploy/argocd/", "examples/gitops/")
FILES = [
    file
    for folder in ("crds", "deploy", "examples")
    for file in sorted((ROOT / folder).rglob("*.yaml"))
    if not any(part in str(file.relative_to(ROOT)) for part in APART)
]


@pytest.mark.parametrize("folder", ["crds", "deploy", "examples"])
def test_what_is_shipped_is_valid(full: Kubectl, folder: str) -> None:
    files = [file for file in FILES if file.is_relative_to(ROOT / folder)]
    objects = [one for file in files for one in yaml.safe_load_all(file.read_text()) if one]
    assert len(files) >= 2
    words = [word for file in files for word in ("-f", str(file))]
    assert dry_run(full, *words) == len(objects)


def test_what_is_wrong_is_noticed(full: Kubectl) -> None:
    """What judges can fail: an unknown field of a kind of ours, of Kubernetes, and of others."""
    text = Helm().template(RELEASE, CHART, NAMESPACE, MATRIX["everything"])
    objects = [one for one in yaml.safe_load_all(text) if one]
    objects += yaml.safe_load_all((ROOT / "examples" / "modelendpoint-digits.yaml").read_text())
    seen = set()
    for one in objects:
        if one["kind"] in seen or "spec" not in one:
            continue
        seen.add(one["kind"])
        wrong = copy.deepcopy(one)
        wrong["spec"]["noSuchField"] = 1
        with pytest.raises(KubectlError, match="noSuchField"):
            dry_run(full, text=yaml.safe_dump(wrong))
    assert {"Deployment", "ServiceMonitor", "ClusterServingRuntime", "HTTPRoute"} <= seen
    assert "ModelEndpoint" in seen
