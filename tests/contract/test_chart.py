"""The Helm charts by real Helm, on an API server that runs nothing: every value counts, and a
release can come, change, go back, go, and come again."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import chart_reference
import manifests
import pytest
import yaml
from dry_run import spaces
from helm import CHART, CRDS, Helm, HelmError
from kubectl import Kubectl, KubectlError

from controlplane import crds
from granted import granted
from loopwright.api import kinds

Values = dict[str, Any]

RELEASE, NAMESPACE = "loopwright", "chart"
WATCHED = ["chart-a", "chart-b"]
IMAGES = ("operator", "runtime", "serving", "torchServing")
DIGEST = "sha256:" + "ab" * 32
MONITORED = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
PEER = {"podSelector": {"matchLabels": {"app": "prometheus"}}}
SOURCE = (CHART / "values.yaml").read_text()
KEYS = [key for key, _ in chart_reference.leaves(
    yaml.safe_load(SOURCE), chart_reference.comments(SOURCE)
)]  # fmt: skip


@pytest.fixture(scope="module")
def helm(api: Kubectl) -> Helm:
    """Helm on the API server, which has the namespaces and kinds that charts may be told of."""
    spaces(api, NAMESPACE, *WATCHED)
    api.apply(*crds("prometheus"))
    api.wait_for_crds()
    return Helm(api.kubeconfig)


@functools.cache
def rendered(values: str = "{}", *options: str) -> str:
    """What Helm makes of values, without a cluster."""
    return Helm().template(RELEASE, CHART, NAMESPACE, json.loads(values), *options)


def nested(path: str, value: Any) -> Values:
    """Values with one key."""
    for word in reversed(path.split(".")):
        value = {word: value}
    return dict(value)


def merged(one: Any, other: Any) -> Any:
    """Both; the second where they differ."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return other
    return one | {key: merged(one.get(key), value) for key, value in other.items()}


def test_what_is_deployed_by_kubectl_is_what_the_chart_renders() -> None:
    assert manifests.OPERATOR.read_text() == manifests.operator(Helm()), "run `make manifests`"
    assert manifests.RUNTIMES.read_text() == manifests.runtimes(Helm()), "run `make manifests`"


def test_the_crds_are_those_of_the_repository() -> None:
    found = yaml.safe_load_all(Helm().template("crds", CRDS, NAMESPACE, {}))
    by_name = {one["metadata"]["name"]: one["spec"] for one in found}
    for kind in kinds.KINDS:
        file = manifests.ROOT / "crds" / f"loopwright.io_{kind.plural}.yaml"
        assert (
            by_name.pop(f"{kind.plural}.loopwright.io") == yaml.safe_load(file.read_text())["spec"]
        )
    assert by_name == {}


# Beside each key another value, and what else must be set for it to count.
OTHERS: dict[str, Any] = {
    "watchNamespaces": ["other"], "images.registry": "registry.example.com", "images.tag": "other",
    "images.pullPolicy": "Always", "images.pullSecrets": [{"name": "registry"}],
    "settings.rayVersion": "2.61.0", "settings.defaultOutput": "s3://models/x",
    "settings.gateway": "gateways/main", "settings.gatewayFeatures": ["A"],
    "settings.ruleLabels": ["a=b"], "settings.runbookUrl": "https://docs.example.com",
    "settings.kuberayNamespaces": ["kuberay"], "settings.clientNamespaces": ["gateways"],
    "settings.prometheusNamespaces": ["monitoring"],
    "settings.prices": "prices", "settings.prometheusUrl": "http://prometheus:9090",
    "settings.logLevel": "DEBUG",
    "extraEnv": [{"name": "A", "value": "b"}], "serviceAccount.name": "other",
    "serviceAccount.annotations": {"a": "b"}, "servingRuntimes.create": True,
    "metrics.serviceAnnotations": {"a": "b"}, "metrics.serviceMonitor.interval": "10s",
    "metrics.serviceMonitor.labels": {"a": "b"}, "metrics.prometheusRule.labels": {"a": "b"},
    "networkPolicy.metricsFrom": [PEER], "networkPolicy.egress": [{}],
    "resources": {"limits": {"memory": "1Gi"}}, "nodeSelector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1}], "priorityClassName": "high",
    "podAnnotations": {"a": "b"}, "podLabels": {"a": "b"},
    "podSecurityContext": {"runAsUser": 1}, "securityContext": {"privileged": False},
    "fullnameOverride": "other",
    "console.enabled": False, "console.namespaces": ["other"], "console.from": [PEER],
    "console.egress": [{}], "console.serviceAnnotations": {"a": "b"},
    "console.resources": {"limits": {"memory": "1Gi"}}, "console.route.enabled": False,
    "console.route.parentRefs": [{"name": "other"}], "console.route.hostnames": ["ml.example.com"],
    "console.route.annotations": {"a": "b"},
    "metrics.serviceMonitor.enabled": False, "dashboards.enabled": False,
    "dashboards.labels": {"a": "b"}, "dashboards.annotations": {"a": "b"},
    "metrics.prometheusRule.enabled": False,
    **{f"images.{one}.repository": "other/image" for one in IMAGES},
    **{f"images.{one}.tag": "other" for one in IMAGES},
    **{f"images.{one}.digest": DIGEST for one in IMAGES},
}  # fmt: skip
ROUTE = {"enabled": True, "parentRefs": [{"name": "main", "namespace": "gateways"}]}
WITH: Values = {
    "replicas": 2, "metrics": MONITORED, "dashboards": {"enabled": True},
    "console": {"enabled": True, "route": ROUTE},
}  # fmt: skip


def other(key: str) -> Any:
    """Another value than the default: of numbers and switches the next."""
    if key in OTHERS:
        return OTHERS[key]
    default = yaml.safe_load(SOURCE)
    for word in key.split("."):
        default = default[word]
    return not default if isinstance(default, bool) else default + 2


@pytest.mark.parametrize("key", KEYS)
def test_every_value_counts(key: str) -> None:
    before, after = WITH, merged(WITH, nested(key, other(key)))
    assert rendered(json.dumps(before)) != rendered(json.dumps(after))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"replica": 2}, "additional properties 'replica' not allowed"),
        ({"settings": {"qsp": 5}}, "additional properties 'qsp' not allowed"),
        ({"images": {"operator": {"name": "x"}}}, "additional properties 'name' not allowed"),
        ({"replicas": "2"}, "got string, want integer"),
        ({"settings": {"gateway": "main"}}, "'main' does not match pattern"),
    ],
)
def test_helm_refuses_wrong_values_and_says_where(values: Values, told: str) -> None:
    with pytest.raises(HelmError) as refused:
        rendered(json.dumps(values))
    assert told in str(refused.value)
    [first, *_] = values
    assert first in str(refused.value)


def test_an_image_is_named_by_what_is_told_most_closely() -> None:
    images = {
        "registry": "r.example.com:5000", "tag": "t", "runtime": {"repository": "ml/run"},
        "serving": {"tag": "s"}, "torchServing": {"tag": "s", "digest": DIGEST},
    }  # fmt: skip
    text = rendered(json.dumps({"images": images}))
    for image in (
        "r.example.com:5000/loopwright/operator:t", "r.example.com:5000/ml/run:t",
        "r.example.com:5000/loopwright/serving:s",
        f"r.example.com:5000/loopwright/serving-torch@{DIGEST}",
    ):  # fmt: skip
        assert f'"{image}"' in text


def test_dashboards_reach_grafana_as_they_were_written() -> None:
    shipped = [
        one for one in yaml.safe_load_all(rendered(json.dumps({"dashboards": {"enabled": True}})))
        if one and one["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]  # fmt: skip
    found = {name: json.loads(text) for one in shipped for name, text in one["data"].items()}
    files = sorted((CHART / "dashboards").glob("*.json"))
    assert found == {f"loopwright-{file.name}": json.loads(file.read_text()) for file in files}
    assert len(found) == len(shipped) == 8
    # Grafana's side-car writes all of a cluster into one folder, by these names.
    assert all(one["kind"] == "ConfigMap" for one in shipped)


def test_the_console_has_no_token_no_rights_and_is_not_taken_for_the_operator() -> None:
    found = [one for one in yaml.safe_load_all(rendered(json.dumps(WITH))) if one]
    own = [one for one in found if one["metadata"]["name"] == "loopwright-console"]
    kinds_ = sorted(one["kind"] for one in own)
    assert kinds_ == ["Deployment", "HTTPRoute", "NetworkPolicy", "Service", "ServiceAccount"]
    [pod] = [one["spec"]["template"] for one in own if one["kind"] == "Deployment"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert [list(one) for one in pod["spec"]["volumes"]] == [["name", "configMap"]]
    bound = [
        subject["name"] for one in found if one["kind"].endswith("Binding")
        for subject in one.get("subjects", ())
    ]  # fmt: skip
    assert "loopwright-console" not in bound
    labels = pod["metadata"]["labels"]
    for one in found:
        if one["kind"] in ("Service", "NetworkPolicy", "PodDisruptionBudget", "Deployment"):
            spec = one["spec"]
            wanted = spec.get("podSelector") or spec["selector"]
            wanted = wanted.get("matchLabels", wanted)
            taken = wanted.items() <= labels.items()
            assert taken == (one in own), one["metadata"]["name"]


@pytest.fixture
def clean(api: Kubectl, helm: Helm) -> Iterator[Kubectl]:
    """No release before and after; what CRDs there are stays."""
    yield api
    for release in (RELEASE, "crds"):
        helm.run("uninstall", release, "--namespace", NAMESPACE, "--ignore-not-found")


MODEL = {"apiVersion": "loopwright.io/v1alpha1", "kind": "Model", "metadata": {"name": "kept"}}


def replicas(api: Kubectl) -> int:
    deployment = api.get("deployment", "loopwright", NAMESPACE)
    assert deployment is not None
    return int(deployment["spec"]["replicas"])


def crds_of_ours(api: Kubectl) -> set[str]:
    return {one["metadata"]["uid"] for one in api.list("crd", selector="loopwright.io/crd=true")}


# Each change of a CRD makes the API server publish all kinds anew, which Helm reads.
@pytest.mark.timeout(3600)
def test_a_release_comes_changes_goes_back_goes_and_comes_again(clean: Kubectl, helm: Helm) -> None:
    api, own = clean, ("--namespace", NAMESPACE)
    before = crds_of_ours(api)
    assert len(before) == len(kinds.KINDS)
    # kubectl had made the CRDs, and perhaps the rest.
    helm.upgrade("crds", CRDS, NAMESPACE, {})
    helm.upgrade(RELEASE, CHART, NAMESPACE, {})
    api.apply(text=json.dumps(MODEL), namespace=NAMESPACE)
    kept = api.get("model", "kept", NAMESPACE)
    assert kept is not None
    assert replicas(api) == 1

    helm.run("upgrade", RELEASE, CHART, *own, values={"replicas": 2})
    helm.run("upgrade", "crds", CRDS, *own)
    assert replicas(api) == 2
    assert api.get("pdb", "loopwright", NAMESPACE) is not None
    helm.run("rollback", RELEASE, "1", *own)
    assert replicas(api) == 1
    assert api.get("pdb", "loopwright", NAMESPACE) is None

    helm.run("uninstall", RELEASE, *own)
    assert "kept due to the resource policy" in helm.run("uninstall", "crds", *own)
    assert api.get("deployment", "loopwright", NAMESPACE) is None
    left = api.list("clusterroles", selector="app.kubernetes.io/name=loopwright")
    assert [one for one in left if one["metadata"]["labels"].get("helm.sh/chart")] == []
    assert crds_of_ours(api) == before
    assert api.get("model", "kept", NAMESPACE) == kept

    # Nothing has to be taken over: it is known whose the CRDs were.
    helm.run("upgrade", "--install", "crds", CRDS, *own)
    helm.run("upgrade", "--install", RELEASE, CHART, *own)
    assert crds_of_ours(api) == before
    assert api.get("model", "kept", NAMESPACE) == kept


def test_rendered_manifests_are_applied_by_kubectl_and_taken_over_by_helm(
    clean: Kubectl, helm: Helm
) -> None:
    api = clean
    api.apply(text=rendered())
    deployment = api.get("deployment", "loopwright", NAMESPACE)
    assert deployment is not None
    api.apply(text=rendered())
    again = api.get("deployment", "loopwright", NAMESPACE) or {}
    assert again["metadata"]["generation"] == deployment["metadata"]["generation"] == 1
    with pytest.raises(HelmError, match="invalid ownership metadata"):
        helm.run("install", RELEASE, CHART, "--namespace", NAMESPACE)
    helm.upgrade(RELEASE, CHART, NAMESPACE, {})
    taken = api.get("deployment", "loopwright", NAMESPACE) or {}
    assert taken["metadata"]["uid"] == deployment["metadata"]["uid"]


def notes(answer: str) -> str:
    return answer.partition("NOTES:\n")[2]


def test_in_an_empty_cluster_the_notes_say_what_is_missing_and_how_to_get_it() -> None:
    words = ["install", RELEASE, CHART, "--namespace", NAMESPACE, "--dry-run=client"]
    text = notes(Helm().run(*words))
    missing = [line for line in text.splitlines() if line.startswith("MISSING: ")]
    for what in ("own CRDs", "KubeRay", "KServe", "Gateway API", "metrics-server"):
        [line] = [one for one in missing if what in one]
        following = text.splitlines()[text.splitlines().index(line) + 1]
        assert following.startswith(("  helm ", "  kubectl ", "  https://"))
    assert len(missing) == 5
    assert "kubectl --namespace chart rollout status deployment/loopwright" in text
    assert "watches all namespaces" in text


def test_where_all_is_there_the_notes_say_only_what_to_do_next(clean: Kubectl, helm: Helm) -> None:
    values = {"settings": {"gateway": "gateways/main"}, "watchNamespaces": WATCHED}
    text = notes(helm.upgrade(RELEASE, CHART, NAMESPACE, values))
    # There is no aggregated API on this server.
    assert [line for line in text.splitlines() if line.startswith(("MISSING", "NOT"))] == [
        "MISSING: metrics-server. ModelEndpoints do not scale by CPU or memory without it:"
    ]
    assert "watches chart-a, chart-b" in text
    assert "kubectl get ml --all-namespaces" in text
    # The cluster has KServe, so there are model servers for it.
    assert clean.get("clusterservingruntime", "loopwright-onnx") is not None
    told = notes(helm.upgrade(RELEASE, CHART, NAMESPACE, {"admissionPolicies": {"create": False}}))
    assert "NOT MADE: the admission policies" in told
    assert "NOT SET: settings.gateway" in told


def may(api: Kubectl, user: str, verb: str, resource: str, *options: str) -> bool:
    words = ["auth", "can-i", verb, resource, "-n", WATCHED[0], f"--as={user}", *options]
    return api.run(*words, check=False).strip() == "yes"


def test_people_may_do_what_their_roles_say(clean: Kubectl, helm: Helm) -> None:
    api = clean
    helm.upgrade(RELEASE, CHART, NAMESPACE, {})
    for who in ("view", "edit", "approver"):
        words = ["create", "rolebinding", who, f"--clusterrole=loopwright-{who}", f"--user={who}"]
        api.run(*words, "-n", WATCHED[0])
    ours = "{}.loopwright.io".format
    granted(api, "view", "list", ours("modelendpoints"), WATCHED[0])
    granted(api, "edit", "create", ours("trainingjobs"), WATCHED[0])
    granted(api, "approver", "approve", ours("modelversions"), WATCHED[0])
    assert not may(api, "view", "create", ours("modelendpoints"))
    assert may(api, "edit", "patch", ours("modelendpoints"), "--subresource=scale")
    assert not may(api, "edit", "patch", ours("trainingjobs"), "--subresource=status")
    for who, expected in (("view", False), ("edit", False), ("approver", True)):
        assert may(api, who, "approve", ours("modelversions")) is expected
    with pytest.raises(KubectlError, match="forbidden"):
        api.run("create", "-f", "-", f"-n={WATCHED[0]}", "--as=view", stdin=json.dumps(MODEL))
