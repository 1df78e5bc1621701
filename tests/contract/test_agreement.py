"""The API server and pydantic accept the same specs, and read the same out of them."""

from __future__ import annotations

import copy
import json
import re
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema
from kubectl import ROOT, Kubectl
from pydantic import ValidationError
from pydantic.alias_generators import to_snake

from loopwright.api import crdgen, names
from loopwright.api.trainingjob import KIND, PLURAL, TrainingJobSpec

Schema = dict[str, Any]
Spec = dict[str, Any]
Place = tuple[Any, ...]

bounded = settings(
    max_examples=300,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class Judge:
    """The API server and the models, asked about the same specs."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def stored(self, spec: Any, name: str = "job") -> Any:
        """The spec as the API server would store it; None when it refuses it."""
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "namespace": "default"},
            "spec": spec,
        }
        answer = self.client.post(
            f"/apis/{names.API_VERSION}/namespaces/default/{PLURAL}",
            params={"dryRun": "All", "fieldValidation": "Strict"},
            headers={"Content-Type": "application/json"},
            content=json.dumps(manifest, allow_nan=False),
        )
        assert answer.status_code in {201, 400, 422}, answer.text
        return answer.json()["spec"] if answer.status_code == 201 else None

    def agree(self, spec: Any, name: str = "job") -> bool:
        """Asserts that both say the same; whether they accept the spec."""
        stored, model = self.stored(spec, name), parsed(spec)
        assert (stored is None) == (model is None)
        assert stored is None or parsed(stored) == model
        return model is not None


def parsed(spec: Any) -> TrainingJobSpec | None:
    """The model of a spec; None when pydantic refuses it."""
    try:
        return TrainingJobSpec.model_validate(spec)
    except ValidationError:
        return None


@pytest.fixture(scope="module")
def judge(api: Kubectl) -> Iterator[Judge]:
    """Both sides; kubectl would take a hundred times as long as a request."""
    config = yaml.safe_load(api.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    # Python 3.13 wants key usages that the cluster's CA does not name.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    with httpx.Client(base_url=cluster["server"], verify=context, trust_env=False) as client:
        yield Judge(client)


# Fields of which CEL wants exactly one; without help few random specs would be valid.
ONE_OF = (
    {"function", "command", "script"},
    {"inline", "configMapRef", "archiveUri"},
    {"uri", "configMapRef"},
    {"secretRef", "configMapRef"},
    {"secretKeyRef", "configMapKeyRef", "fieldRef"},
    {
        "configMap", "secret", "persistentVolumeClaim", "emptyDir", "projected", "downwardAPI",
        "csi", "ephemeral",
    },
)  # fmt: skip
URI_RULE = re.compile(r"self\.matches\(r'(.*)'\)")

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
        return st.dictionaries(WORDS, values(schema["additionalProperties"]), max_size=3)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return OPAQUE
    if schema.get("x-kubernetes-int-or-string"):
        if "pattern" not in schema:
            return PROCESSES
        return st.from_regex(schema["pattern"]) | st.integers(-1, 2**63)
    rules = [URI_RULE.match(one["rule"]) for one in schema.get("x-kubernetes-validations", ())]
    if rules and rules[0]:
        # Unlike RE2's `$`, Python's stands before a last newline too, and some strings end in one.
        return st.from_regex(rules[0].group(1))
    return from_schema({k: v for k, v in schema.items() if not k.startswith("x-")})


def objects(schema: Schema) -> st.SearchStrategy[Spec]:
    """Objects with their required fields and a few of the others."""
    fields = {name: values(field) for name, field in schema["properties"].items()}
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


def spec_schema() -> Schema:
    """The schema of the spec, as generated and installed."""
    text = (crdgen.CRDS / f"{names.GROUP}_{PLURAL}.yaml").read_text()
    [version] = yaml.safe_load(text)["spec"]["versions"]
    schema: Schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def test_both_accept_the_same_generated_specs(judge: Judge) -> None:
    accepted = []

    @bounded
    @given(values(spec_schema()))
    def check(spec: Spec) -> None:
        accepted.append(judge.agree(spec))

    check()
    share = sum(accepted) / len(accepted)
    assert 0.25 < share < 0.95, f"{share:.0%} were valid; the test says little"


# Together they set nearly every field.
RICH: list[Spec] = list(
    yaml.safe_load_all(
        """
image: registry.example.com/a:b
rayVersion: 2.60.0
script: {archiveUri: "https://x.org/a.tgz", path: a/b.py, secretRef: {name: s}, digest: DIGEST}
args: [--fast, ""]
hyperparameters: {lr: "0.1", epochs: "3"}
hyperparameterStyle: Args
numWorkers: 2
resourcesPerWorker:
  {cpu: 500m, memory: 1.5Gi, gpu: 1, gpuResource: amd.com/gpu, shmSize: "1e3",
   ephemeralStorage: 1000}
procsPerWorker: 2
head: {resources: {cpu: 1}, pod: {labels: {a: b}}}
output: {uri: s3://b/x, secretRef: {name: s}}
checkpoint:
  {uri: "pvc://claim/c", secretRef: {name: s}, keep: 2, localPath: /ckpt, intervalHintSeconds: 60,
   resumeFrom: s3://b/c/step-1}
spot:
  {enabled: true, nodeSelector: {pool: spot}, tolerations: [{key: spot}], fallbackOnDemandAfter: 2,
   gracePeriodSeconds: 30}
---
function: a.b:c
env:
- {name: A, value: b}
- {name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: C, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
envFrom: [{prefix: P_, secretRef: {name: s}}, {configMapRef: {name: c}}]
inputs:
- name: a
  source: {uri: s3://b/x, secretRef: {name: s}, digest: DIGEST}
  mountPath: /in/a
  env: DATA
- {name: b, source: {configMapRef: {name: c}}}
pod:
  nodeSelector: {pool: a}
  tolerations:
  - {key: k, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
  - {key: k, value: v}
  affinity: {}
  imagePullSecrets: [{name: registry}]
  volumes: [{name: a, emptyDir: {}}, {name: b, downwardAPI: {}}]
  volumeMounts:
  - {name: a, mountPath: /a, subPath: b/c, readOnly: true}
  - {name: b, mountPath: /b}
  labels: {team: a}
  annotations: {example.com/why: because}
---
command: [python, -c, print()]
script: null
procsPerWorker: auto
retry:
  {maxApplicationFailures: 1, maxInfrastructureFailures: 5, backoffSeconds: 1,
   backoffMaxSeconds: 10, nonRetriableExitCodes: [2, 3]}
runPolicy:
  {maxRuntimeSeconds: 600, maxPendingSeconds: 60, suspend: true, ttlSecondsAfterFinished: 5}
scheduling: {queue: team, priorityClass: high}
metrics:
  source: {kind: Stdout, regex: ["loss=(?P<loss>.*)"]}
  objective: {metric: loss, direction: Maximize}
register:
  model: m
  card: "# M"
  requireMetrics: [{metric: loss, max: "1.5e-3"}, {metric: acc, min: "0", max: "1"}]
""".replace("DIGEST", "sha256:" + "0" * 64)
    )
)
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


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Where a spec holds a value, at any depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*here, key)
        if isinstance(item, dict | list):
            yield from places(item, (*here, key))


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
def mutants(draw: st.DrawFn) -> Spec:
    """A rich spec in which one value is odd, almost right, or named wrong."""
    spec = copy.deepcopy(draw(st.sampled_from(RICH)))
    place = draw(st.sampled_from(list(places(spec))))
    around: Any = spec
    for key in place[:-1]:
        around = around[key]
    old = around[place[-1]]
    close = [*variants(old), snake_case(old)]
    around[place[-1]] = draw(st.sampled_from(ODD) | st.sampled_from(close))
    return spec


@pytest.mark.parametrize("spec", RICH, ids=["script", "function", "command"])
def test_both_accept_rich_specs(judge: Judge, spec: Spec) -> None:
    assert judge.agree(spec)
    assert not judge.agree(snake_case(spec))


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
    "the longest key": (True, {"pod": {"labels": {"x" * 317: ""}}}),
    "too long a key": (False, {"pod": {"labels": {"x" * 318: ""}}}),
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


def test_both_say_the_same_of_mutants(judge: Judge) -> None:
    accepted = []

    @bounded
    @given(mutants())
    def check(spec: Spec) -> None:
        accepted.append(judge.agree(spec))

    check()
    share = sum(accepted) / len(accepted)
    assert 0.05 < share < 0.75, f"{share:.0%} were valid; the test says little"


FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def written() -> Iterator[Any]:
    """Each TrainingJob in the examples and the documentation."""
    texts = [(file, [file.read_text()]) for file in sorted((ROOT / "examples").glob("*.yaml"))]
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        texts.append((page, FENCE.findall(page.read_text())))
    for file, blocks in texts:
        for document in (one for text in blocks for one in yaml.safe_load_all(text)):
            if document.get("kind") == KIND:
                name = document["metadata"]["name"]
                where = f"{file.relative_to(ROOT)}: {name}"
                yield pytest.param(document["spec"], name, id=where)


@pytest.mark.parametrize(("spec", "name"), list(written()))
def test_both_read_the_documentation_alike(judge: Judge, spec: Spec, name: str) -> None:
    assert judge.agree(spec, name)
