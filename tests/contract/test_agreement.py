"""The API server and pydantic accept the same specs, and read the same out of them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema
from kubectl import ROOT
from pydantic.alias_generators import to_snake
from specs import (
    RICH,
    RICH_BATCHES,
    RICH_ENDPOINTS,
    RICH_MODELS,
    RICH_SWEEPS,
    RICH_VERSIONS,
    Judge,
    Spec,
    places,
)

from loopwright.api import crdgen, kinds, names

Schema = dict[str, Any]

bounded = settings(
    max_examples=300,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


# Fields of which CEL wants exactly one; without help few random specs would be valid.
ONE_OF = (
    {"function", "command", "script"},
    {"inline", "configMapRef", "archiveUri"},
    {"uri", "configMapRef"},
    {"secretRef", "configMapRef"},
    {"secretKeyRef", "configMapKeyRef", "fieldRef"},
    {"model", "endpointRef"},
    {"modelRef", "modelVersionRef", "trainingJobRef", "sweepRef"},
    {"alias", "version"},
    {"cpu", "memory", "prometheus", "rps"},
    {"errorRate", "latency", "prometheus"},
    {"maxMilliseconds", "maxRatio"},
    {"header", "cookie"},
    {"feedback", "errorRatio", "latency"},
    {"uniform", "logUniform", "normal", "categorical", "int"},
    {"random", "grid", "sobol", "tpe", "cmaes", "nsga2", "pbt"},
    {
        "configMap", "secret", "persistentVolumeClaim", "emptyDir", "projected", "downwardAPI",
        "csi", "ephemeral",
    },
)  # fmt: skip
# What chance hardly ever gets right, in several places at once.
EASY = {
    name: st.sampled_from([spec[name] for spec in RICH_SWEEPS if name in spec])
    for name in ("objectives", "parameters", "trialTemplate", "maxTrials", "parallelTrials")
} | {
    "dataCapture": st.sampled_from(
        [s["dataCapture"] for s in RICH_ENDPOINTS if "dataCapture" in s]
    ),
    # As endpoints and batches have them.
    "monitors": st.sampled_from([[{"name": "a", "kind": "DataDrift"}], []]),
}
# Hardly any random one is of the kind that it says.
MONITORS = [one for spec in RICH_ENDPOINTS for one in spec.get("monitors", ())]
EASY["monitors"] |= st.sampled_from([[one] for one in MONITORS if "quality" not in one])
URI_RULE = re.compile(r"self\.matches\(r'(.*)'\)")
KEY_RULE = re.compile(r".*key\.matches\(r'(.*)'\)\)")

WORDS = st.text(max_size=8)
# Numbers stay small: within objects of Kubernetes' own the API server rounds those over 64 bits.
OPAQUE = st.dictionaries(
    WORDS,
    st.recursive(
        st.none() | st.booleans() | st.integers(-1000, 1000) | WORDS,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
        max_leaves=4,
    ),
    max_size=2,
)
PROCESSES = st.just("auto") | st.integers(-1, 66) | WORDS


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that fit a part of the CRD's schema, CEL rules aside."""
    if "properties" in schema:
        return objects(schema)
    if "items" in schema:
        size = {"min_size": schema.get("minItems", 0), "max_size": 3}
        return st.lists(values(schema["items"]), **size)
    if "additionalProperties" in schema:
        # More rules say which keys other programs have.
        rule, *_ = schema["x-kubernetes-validations"]
        pattern = KEY_RULE.fullmatch(rule["rule"])
        assert pattern
        keys = st.from_regex(pattern[1], fullmatch=True)
        keys |= st.sampled_from(["app", "ray.io/x", "app.kubernetes.io/managed-by"])
        return st.dictionaries(keys | WORDS, values(schema["additionalProperties"]), max_size=3)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return OPAQUE
    if schema.get("x-kubernetes-int-or-string"):
        if "pattern" not in schema:
            return PROCESSES
        return st.from_regex(schema["pattern"]) | st.integers(-1, 2**63)
    rules = [URI_RULE.match(one["rule"]) for one in schema.get("x-kubernetes-validations", ())]
    if rules and rules[0]:
        # Unlike RE2's `$`, Python's stands before a last newline too, and some strings end in one.
        pattern = rules[0].group(1)
        return st.from_regex(pattern, fullmatch=True) | st.from_regex(pattern)
    return from_schema({k: v for k, v in schema.items() if not k.startswith("x-")})


def objects(schema: Schema) -> st.SearchStrategy[Spec]:
    """Objects with their required fields and a few of the others."""
    fields = {name: values(field) for name, field in schema["properties"].items()}
    fields |= {name: EASY[name] | some for name, some in fields.items() if name in EASY}
    required = set(schema.get("required", ()))
    optional = sorted(set(fields) - required)
    choices = [sorted(group) for group in ONE_OF if group <= set(fields)][:1]

    @st.composite
    def draw_one(draw: st.DrawFn) -> Spec:
        chosen = set(draw(st.lists(st.sampled_from(optional), max_size=4))) if optional else set()
        for group in choices:
            if draw(st.integers(0, 7)):
                chosen = chosen - set(group) | {draw(st.sampled_from(group))}
        return {name: draw(fields[name]) for name in sorted(required | chosen)}

    return draw_one()


def spec_schema(kind: kinds.Kind) -> Schema:
    """The schema of the spec, as generated and installed."""
    text = (crdgen.CRDS / f"{names.GROUP}_{kind.plural}.yaml").read_text()
    [version] = yaml.safe_load(text)["spec"]["versions"]
    schema: Schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


# Specs that set nearly every field of their kind.
KINDS = {
    kinds.TRAININGJOB: RICH,
    kinds.HYPERPARAMETERSWEEP: RICH_SWEEPS,
    kinds.MODEL: RICH_MODELS,
    kinds.MODELVERSION: RICH_VERSIONS,
    kinds.MODELENDPOINT: RICH_ENDPOINTS,
    kinds.BATCHTRANSFORM: RICH_BATCHES,
}
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def called(spec: Any) -> str:
    """What an object with a spec must be called; of most kinds that is free."""
    try:
        return f"{spec['modelRef']['name']}-{spec['version']}"
    except (KeyError, TypeError):
        return "job"


@every_kind
def test_both_accept_the_same_generated_specs(judge: Judge, kind: kinds.Kind) -> None:
    accepted = []
    judge = Judge(judge.client, kind)

    @bounded
    @given(values(spec_schema(kind)))
    def check(spec: Spec) -> None:
        accepted.append(judge.agree(spec, called(spec)))

    check()
    share = sum(accepted) / len(accepted)
    assert 0.1 < share < 0.95, f"{share:.0%} were valid; the test says little"


ODD: list[Any] = [
    None, True, False, {}, [], [None], {"a": None}, {"a": "b"}, {"": "b"}, ["a"], [["a"]],
    {"name": "a"}, [{"name": "a"}, {"name": "a"}],
    0, 1, 2, -1, 65, 101, 256, 1025, 1.0, -0.0, 0.5, 1e3, 1e300, 10**30,
    2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1,
    "", " ", "\n", "\0", "a", "A", "-", "a-", "a.b", "a_b", "0", "true", "yes", "null", "auto",
    "None", "Latest", "latest", "Equal", "Push", "Env", "LOOPWRIGHT_X",
    "1e3", "1E3", "0.5", "1.5Gi", "-1", "+1", "100m", "0m", "1n", "1E", "1Ei", "1ki", ".5", "1.",
    "00", "007", "1e10", "1e-9", "1 ", "9" * 18, "9" * 19, "9" * 20, "9" * 33, "1_0", "NaN", "inf",
    "0.1234567890", "1" + "0" * 18 + "Ei",
    "é", "日本", "\u2028", "\x85", "😀", "\u0661", "\u212a", "a\u0301",
    "x" * 63, "x" * 64, "x" * 65, "x" * 253, "x" * 254, "x" * 317, "x" * 318, "x" * 513,
    "x" * 1025, "/" + "x" * 2048, "x" * 4096, "x" * 4097, "😀" * 64, "😀" * 4096, "x" * 65537,
    {"x" * 64: ""}, {"x" * 65: ""}, {"x" * 317: ""}, {"x" * 318: ""}, {"a": "x" * 4097},
    {f"k{i}": "" for i in range(65)}, {f"k{i}": "" for i in range(101)}, ["a"] * 65, ["a"] * 129,
    "s3://b", "s3://b/", "s3://b/../x", "s3://b/..", "s3://..", "s3://../x", "s3://b/..x", "s3:///x",
    "s3://b/a b", "s3://b/é", "s3://b\n", "S3://b", "pvc://c//x", "http://h", "ftp://h", "s3:/b",
    "/", "//", "/a/../b", "/..", "..", "a/..", "a/..b", "/a:b", "/a b", "/a\n", "a/b", "./a",
    "a:b", "a:b\n", "a.b:c.d", "1.2.3", "1.2.3\n", "1.2", "sha256:" + "0" * 64,
    "sha256:" + "0" * 63 + "A", "sha256:" + "0" * 64 + "\n",
]  # fmt: skip


def variants(value: Any) -> list[Any]:
    """Values that are almost the same."""
    if isinstance(value, str):
        return [value + "\n", value + " ", value.upper(), value * 40, [value], value + "/../x"]
    if isinstance(value, bool):
        return [int(value), str(value).lower(), not value]
    if isinstance(value, int):
        return [float(value), value + 0.5, str(value), -value, [value]]
    if isinstance(value, list):
        return [value * 2, value * 70, [*value, None], value[:0], dict(enumerate(map(str, value)))]
    if isinstance(value, dict):
        unset = [{k: v for k, v in value.items() if k != gone} for gone in value]
        nulls = [{**value, gone: None} for gone in value]
        return [{**value, "unknown": 1}, {**value, "unknown": None}, [value], *unset, *nulls]
    return []


def snake_case(value: Any) -> Any:
    """An object with its names as Python writes them."""
    return {to_snake(k): v for k, v in value.items()} if isinstance(value, dict) else value


@st.composite
def mutants(draw: st.DrawFn, kind: kinds.Kind) -> Spec:
    """A rich spec in which one value is odd, almost right, or named wrong."""
    spec = copy.deepcopy(draw(st.sampled_from(KINDS[kind])))
    place = draw(st.sampled_from(list(places(spec))))
    around: Any = spec
    for key in place[:-1]:
        around = around[key]
    old = around[place[-1]]
    close = [*variants(old), snake_case(old)]
    around[place[-1]] = draw(st.sampled_from(ODD) | st.sampled_from(close))
    return spec


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        pytest.param(kind, spec, id=f"{kind.name} {number}")
        for kind, specs in KINDS.items()
        for number, spec in enumerate(specs)
    ],
)
def test_both_accept_rich_specs(judge: Judge, kind: kinds.Kind, spec: Spec) -> None:
    judge = Judge(judge.client, kind)
    assert judge.agree(spec, called(spec))
    assert not judge.agree(snake_case(spec), called(spec))


# Where the two are prone to differ: numbers, nulls, keys of maps and lists, ends of patterns.
TRAPS: dict[str, tuple[bool, Spec]] = {
    "a whole number as a float": (True, {"numWorkers": 2.0, "resourcesPerWorker": {"gpu": 1e0}}),
    "a float that a CEL rule reads": (False, {"retry": {"backoffSeconds": 1.0}}),
    "a float for int-or-string": (False, {"procsPerWorker": 2.0}),
    "a text for a boolean": (False, {"runPolicy": {"suspend": "true"}}),
    "a number for a boolean": (False, {"runPolicy": {"suspend": 1}}),
    "null for a default": (True, {"head": None, "retry": {"backoffSeconds": None}}),
    "null for nothing": (True, {"image": None, "hyperparameters": {"a": None}}),
    "null in a list": (False, {"env": [None]}),
    "null for an unknown field": (False, {"unknown": None}),
    "a Python name": (False, {"num_workers": 2}),
    "a key twice": (False, {"env": [{"name": "a"}, {"name": "a", "value": "b"}]}),
    "the longest key": (True, {"pod": {"labels": {"x" * 253 + "/" + "x" * 63: ""}}}),
    "too long a key": (False, {"pod": {"labels": {"x" * 254 + "/" + "x" * 63: ""}}}),
    "a label that is none": (False, {"pod": {"labels": {"a": "b c"}}}),
    "a newline after a label": (False, {"pod": {"labels": {"a": "b\n"}}}),
    "a newline after a key": (False, {"spot": {"nodeSelector": {"a\n": "b"}}}),
    "any annotation": (True, {"pod": {"annotations": {"example.com/a": "b c\n😀"}}}),
    "a NUL": (False, {"env": [{"name": "A", "value": "a\0b"}]}),
    "a NUL in a name": (False, {"hyperparameters": {"a\0": "b"}}),
    "a claim that cannot be": (False, {"output": {"uri": "pvc://?watch=true/x"}}),
    "a way out of a claim": (False, {"checkpoint": {"resumeFrom": "pvc://a/../b"}}),
    "the operator's volume": (False, {"pod": {"volumes": [{"name": "loopwright-a", "csi": {}}]}}),
    "too many entries": (False, {"hyperparameters": {str(i): "" for i in range(101)}}),
    "a relative path": (False, {"checkpoint": {"localPath": "a/b"}}),
    "a newline at the end": (False, {"checkpoint": {"localPath": "/a\n"}}),
    "more than 64 bits": (False, {"resourcesPerWorker": {"memory": 2**63}}),
    "just 64 bits": (True, {"resourcesPerWorker": {"memory": 2**63 - 1}}),
    "too many decimals": (False, {"resourcesPerWorker": {"cpu": "0.1234567890"}}),
}


@pytest.mark.parametrize(("valid", "spec"), TRAPS.values(), ids=list(TRAPS))
def test_both_see_the_traps(judge: Judge, valid: bool, spec: Spec) -> None:
    assert judge.agree({"function": "a:b", **spec}) is valid


@every_kind
def test_both_say_the_same_of_mutants(judge: Judge, kind: kinds.Kind) -> None:
    accepted = []
    judge = Judge(judge.client, kind)

    @bounded
    @given(mutants(kind))
    def check(spec: Spec) -> None:
        accepted.append(judge.agree(spec, called(spec)))

    check()
    share = sum(accepted) / len(accepted)
    assert 0.05 < share < 0.75, f"{share:.0%} were valid; the test says little"


FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def written() -> Iterator[Any]:
    """Each object of ours in the examples and the documentation."""
    known = {kind.name: kind for kind in kinds.KINDS}
    texts = [(file, [file.read_text()]) for file in sorted((ROOT / "examples").glob("*.yaml"))]
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        texts.append((page, FENCE.findall(page.read_text())))
    for file, blocks in texts:
        for document in (one for text in blocks for one in yaml.safe_load_all(text)):
            # Others have a TrainingJob too.
            ours = document.get("apiVersion") == names.API_VERSION
            if ours and (kind := known.get(document["kind"])) is not None:
                name = document["metadata"]["name"]
                where = f"{file.relative_to(ROOT)}: {kind.name} {name}"
                yield pytest.param(kind, document.get("spec", {}), name, id=where)


@pytest.mark.parametrize(("kind", "spec", "name"), list(written()))
def test_both_read_the_documentation_alike(
    judge: Judge, kind: kinds.Kind, spec: Spec, name: str
) -> None:
    assert Judge(judge.client, kind).agree(spec, name)
