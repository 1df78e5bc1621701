"""The Helm charts, as far as they can be judged without Helm."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import chart_reference
import jsonschema
import pytest
import yaml
from chart_reference import CHART, ROOT

import loopwright
from loopwright.api import crdgen, kinds
from loopwright.api.resources import LEASE
from loopwright.operator import WATCHED
from loopwright.settings import Settings

CRDS = ROOT / "charts" / "loopwright-crds"
SOURCE = (CHART / "values.yaml").read_text()
VALUES = yaml.safe_load(SOURCE)
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEPLOYED = list(yaml.safe_load_all((ROOT / "deploy" / "operator.yaml").read_text()))
# What the chart does not take from `settings`, and where it has it from.
ELSEWHERE = {
    "operator_image", "runtime_image", "serving_image", "torch_serving_image",
    "image_pull_secrets", "namespaces", "namespace", "identity",
}  # fmt: skip


@pytest.mark.parametrize("chart", [CHART, CRDS], ids=lambda path: path.name)
def test_a_chart_has_the_version_of_the_package(chart: Any) -> None:
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert about["name"] == chart.name
    assert (about["version"], about["appVersion"]) == (loopwright.__version__,) * 2


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference means."""
    found: dict[str, Any] = SCHEMA
    for word in schema.get("$ref", "#").split("/")[1:]:
        found = found[word]
    return found if "$ref" in schema else schema


def objects(
    schema: dict[str, Any], values: Any, path: str = ""
) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """All objects of the schema that list their keys, with what values.yaml has there."""
    schema = resolved(schema)
    if "properties" in schema:
        yield path, schema, values
        for key, inner in schema["properties"].items():
            if key in values:
                yield from objects(inner, values[key], f"{path}.{key}".lstrip("."))


GROUPS = list(objects(SCHEMA, VALUES))


def test_the_defaults_are_valid() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)
    assert len(GROUPS) > 10


@pytest.mark.parametrize(("path", "schema", "values"), GROUPS, ids=[one[0] for one in GROUPS])
def test_schema_and_defaults_have_the_same_keys(path: str, schema: Any, values: Any) -> None:
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) - {"global"} == set(values)


@pytest.mark.parametrize("path", [one[0] for one in GROUPS])
def test_an_unknown_key_is_refused(path: str) -> None:
    values = copy.deepcopy(VALUES)
    place = values
    for key in path.split(".") if path else []:
        place = place[key]
    place["replica"] = 2
    with pytest.raises(jsonschema.ValidationError, match="'replica' was unexpected"):
        jsonschema.validate(values, SCHEMA)


WRONG: dict[str, Any] = {
    "replicas": "two", "watchNamespaces": ["Team A"], "images.operator.digest": "sha256:1",
    "images.registry": "https://registry.example.com/", "images.tag": "a b",
    "settings.gateway": "loopwright", "settings.logLevel": "info", "settings.qps": 0,
    "settings.defaultOutput": "models/x", "settings.metricsPort": 70000,
    "servingRuntimes.create": "yes", "podAnnotations": {"a": 1}, "extraEnv": [{"value": "x"}],
    "metrics.serviceMonitor.interval": "often", "dashboards.labels": {"grafana_dashboard": 1},
    "podDisruptionBudget.minAvailable": "one", "console.refreshSeconds": -1,
    "console.route.hostnames": [""],
}  # fmt: skip


@pytest.mark.parametrize("path", WRONG)
def test_a_wrong_value_is_refused(path: str) -> None:
    values = copy.deepcopy(VALUES)
    *above, key = path.split(".")
    place = values
    for one in above:
        place = place[one]
    place[key] = WRONG[path]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, SCHEMA)


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def test_the_chart_has_every_setting_with_its_default() -> None:
    known = {one.name: one.default for one in fields(Settings) if one.name not in ELSEWHERE}
    wanted = {camel(name): list(v) if v == () else v for name, v in known.items()}
    assert VALUES["settings"] == wanted


def container() -> dict[str, Any]:
    [deployment] = [one for one in DEPLOYED if one["kind"] == "Deployment"]
    [found] = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_what_is_deployed_without_values_has_the_defaults_of_settings() -> None:
    env = {one["name"]: one.get("value", "") for one in container()["env"]}
    assert env.keys() == {f"LOOPWRIGHT_{one.name.upper()}" for one in fields(Settings)}
    of_the_pod = {"LOOPWRIGHT_NAMESPACE", "LOOPWRIGHT_IDENTITY"}
    given = {name: value for name, value in env.items() if name not in of_the_pod}
    assert Settings.from_env(given) == Settings()
    assert container()["image"] == Settings().operator_image


def test_every_value_is_explained() -> None:
    known = chart_reference.comments(SOURCE)
    keys = [key for key, _ in chart_reference.leaves(VALUES, known)]
    assert set(keys) <= known.keys()
    assert chart_reference.PAGE.read_text() == chart_reference.text()


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.name)
def test_crds_of_the_chart_are_those_of_the_repository_and_are_kept(kind: kinds.Kind) -> None:
    text = (CRDS / "templates" / f"loopwright.io_{kind.plural}.yaml").read_text()
    assert text == crdgen.template(crdgen.crd(kind))
    found = yaml.safe_load(text.replace('{{ "{{" }}', "{{"))
    assert found["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert found == crdgen.crd(kind)


def rules(name: str) -> list[dict[str, Any]]:
    """Rules of the operator's Roles, by the name of their template."""
    text = (CHART / "templates" / "_rules.tpl").read_text()
    body = text.partition(f'{{{{- define "loopwright.{name}" -}}}}')[2].partition("{{- end -}}")[0]
    found: list[dict[str, Any]] = yaml.safe_load(body)
    return found


def test_in_its_own_namespace_the_operator_may_watch_what_it_watches() -> None:
    pairs = [
        (group, resource)
        for rule in rules("ownRules")
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    ]
    assert sorted(pairs) == sorted((one.group, one.plural) for one in (*WATCHED, LEASE))
    assert all(rule["verbs"] == ["list", "watch"] for rule in rules("ownRules"))


def test_nothing_is_written_outside_the_watched_namespaces() -> None:
    verbs = {verb for rule in rules("clusterRules") for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch"}
    resources = {one for rule in rules("clusterRules") for one in rule["resources"]}
    assert not resources & {"secrets", "configmaps", "pods"}


def test_no_rule_has_wildcards() -> None:
    for rule in [*rules("rules"), *rules("clusterRules"), *rules("ownRules")]:
        assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}


def test_people_may_view_and_edit_every_kind() -> None:
    roles = {o["metadata"]["name"]: o for o in DEPLOYED if o["kind"] == "ClusterRole"}
    for name in ("loopwright-view", "loopwright-edit"):
        [first, scales] = roles[name]["rules"]
        assert set(first["resources"]) == {kind.plural for kind in kinds.KINDS}
        scaled = {f"{kind.plural}/scale" for kind in kinds.KINDS if kind.scale}
        assert set(scales["resources"]) == scaled
    decides = {n for n, role in roles.items() for r in role["rules"] if "approve" in r["verbs"]}
    # The operator itself is one of them, for Models with spec.autoApprove.
    assert decides == {"loopwright", "loopwright-approver"}
