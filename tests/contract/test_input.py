"""F37 to F40: values of the wrong kind, strange text, too much of everything, and injection."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from specs import RICH, Judge, Place, Spec, parsed, places

from loopwright.api import names
from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.desired.context import AttemptContext
from loopwright.desired.rayjob import rayjob
from loopwright.desired.training import TrainingJobContext
from loopwright.reconcile.children import MAX_BYTES

WRONG: tuple[Any, ...] = (
    {"a": "b"}, {}, ["a"], [], "\n", "", True, -1, 0, 0.5, 2**31, 2**63, -(2**63) - 1,
)  # fmt: skip


def with_value(spec: Spec, place: Place, value: Any) -> Spec:
    """The spec with another value at a place."""
    spec = copy.deepcopy(spec)
    around: Any = spec
    for key in place[:-1]:
        around = around[key]
    around[place[-1]] = value
    return spec


def field(place: Place) -> str:
    """A place as the API server writes it."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return f"spec{text}"


@pytest.mark.parametrize("spec", RICH, ids=["script", "function", "command"])
def test_what_is_refused_is_named(judge: Judge, spec: Spec) -> None:
    """F37: the refusal names the field, or the object that it is in."""
    refused = 0
    for place in places(spec):
        for value in WRONG:
            wrong = with_value(spec, place, value)
            if parsed(wrong) is not None:
                continue
            answer = judge.ask(wrong)
            assert answer.status_code in (400, 422), f"{field(place)}: {value!r}: {answer.text}"
            assert field(place[:-1]) in answer.json()["message"]
            refused += 1
    assert refused > 400


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "0x1", ".nan", ".inf"])
@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_what_is_no_number_is_refused(judge: Judge, kind: str, value: str) -> None:
    """F37: neither JSON nor YAML can smuggle one in."""
    spec = f'{{"function": "a:b", "numWorkers": {value}}}'
    head = f'"apiVersion": "{names.API_VERSION}", "kind": "TrainingJob"'
    answer = judge.client.post(
        f"/apis/{names.API_VERSION}/namespaces/default/trainingjobs",
        params={"dryRun": "All", "fieldValidation": "Strict"},
        headers={"Content-Type": f"application/{kind}"},
        content=f'{{{head}, "metadata": {{"name": "nan"}}, "spec": {spec}}}',
    )
    # 0x1 is one in YAML.
    assert answer.status_code in (400, 422) or (kind, value) == ("yaml", "0x1"), answer.text


TEXTS = (
    "naïve 日本語 😀", "\u202eright to left", "a\u0301 combining", "line\nline\r\n",
    "\ttab\x01\x7f", "\ufeff\u2028\u0085",
    "'; rm -rf / #", '"$(id)" `id` ${HOME}', "$(HOME) $$", "{{ x }} %s \\",
    " \n ", "null", "../../etc/passwd", "--flag", "a=b=c",
)  # fmt: skip


def made(judge: Judge, spec: Spec) -> tuple[Any, Any]:
    """What pods get: the RayJob as the API server would store it, and the driver's settings."""
    answer = judge.ask(spec)
    assert answer.status_code == 201, answer.text
    uris = ("pvc://claim/out", "pvc://claim/out/checkpoints")
    stored = TrainingJobSpec.model_validate(answer.json()["spec"])
    job = TrainingJobContext("job", "default", "uid", stored, "image", "2.60.0", *uris)
    cluster = judge.send(rayjob(job, AttemptContext(1, 60)), "ray.io/v1/rayjobs")
    assert cluster.status_code == 201, cluster.text
    text = annotations(cluster.json())[names.CONFIG_ANNOTATION]
    return cluster.json(), json.loads(text)["spec"]


def annotations(cluster: Any) -> Any:
    """Of the head pod."""
    template = cluster["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    return template["metadata"]["annotations"]


def containers(cluster: Any) -> list[Any]:
    """Head and worker."""
    spec = cluster["spec"]["rayClusterSpec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"]["containers"][0] for group in groups]


def test_text_is_carried_as_it_is(judge: Judge) -> None:
    """F38 and F40: to the byte, in everything that takes text, and no part of it is interpreted."""
    env = [{"name": f"T{number}", "value": text} for number, text in enumerate(TEXTS)]
    words = {f"{text}{number}": text for number, text in enumerate(TEXTS)}
    spec = {
        "command": ["python", *TEXTS], "args": list(TEXTS), "env": env, "hyperparameters": words,
        "pod": {"annotations": {f"t{number}": text for number, text in enumerate(TEXTS)}},
    }  # fmt: skip
    cluster, settings = made(judge, spec)
    for field in ("command", "args", "hyperparameters"):
        assert settings[field] == spec[field], field
    for container in containers(cluster):
        given = {one["name"]: one.get("value") for one in container["env"]}
        assert [given[f"T{number}"] for number in range(len(TEXTS))] == list(TEXTS)


def test_only_variables_and_labels_of_people_reach_the_rayjob(judge: Judge) -> None:
    """F40: KubeRay runs its entrypoint in a shell, so nothing of theirs is in it."""
    plain, _ = made(judge, {"command": ["a"]})
    wild, _ = made(judge, {"command": list(TEXTS), "args": list(TEXTS), "hyperparameters": {
        text: text for text in TEXTS}, "hyperparameterStyle": "Args"})  # fmt: skip
    for one in (plain, wild):
        one["metadata"] = {}
        del annotations(one)[names.CONFIG_ANNOTATION]
    assert wild == plain
    assert plain["spec"]["entrypoint"] == "python -m loopwright.runtime"


@pytest.mark.parametrize("text", ["\0", "a\0b"])
@pytest.mark.parametrize("field", ["command", "args", "env", "hyperparameters", "script"])
def test_no_text_holds_a_nul(judge: Judge, field: str, text: str) -> None:
    """F38: no program could be given it, and its pod would never start."""
    specs: dict[str, Spec] = {
        "command": {"command": [text]},
        "args": {"command": ["a"], "args": [text]},
        "env": {"function": "a:b", "env": [{"name": "A", "value": text}]},
        "hyperparameters": {"function": "a:b", "hyperparameters": {"a": text}},
        "script": {"script": {"inline": text}},
    }
    answer = judge.ask(specs[field])
    assert (answer.status_code, parsed(specs[field])) == (422, None)
    assert f"spec.{field}" in answer.json()["message"]


LONG = "x" * 60
CLAIMS = {
    "dots": ("data.x", "data-x"),
    "ends": (f"{LONG}a", f"{LONG}b"),
    "both": (f"{LONG}.a", f"{LONG}-a"),
    "the longest": ("x" * 252 + "a", "x" * 252 + "b"),
}


@pytest.mark.parametrize("what", CLAIMS)
def test_long_names_stay_apart(judge: Judge, what: str) -> None:
    """F38: names that are alike but for what a volume's name cannot hold."""
    one, other = CLAIMS[what]
    inputs = [
        {"name": "a" * 62 + "1", "source": {"uri": f"pvc://{one}/x"}, "mountPath": "/in/1"},
        {"name": "a" * 62 + "2", "source": {"uri": f"pvc://{other}/x"}, "mountPath": "/in/2"},
        {"name": "c", "source": {"configMapRef": {"name": one}}},
    ]
    made(judge, {"function": "a:b", "inputs": inputs})


def test_what_is_too_much_is_refused(judge: Judge) -> None:
    """F39: with the limit, before anything is stored."""
    many = [{"name": f"E{number}", "value": "x"} for number in range(10_000)]
    answer = judge.ask({"function": "a:b", "env": many})
    assert answer.status_code == 422
    assert "spec.env: Too many: 10000: must have at most 128 items" in answer.text
    answer = judge.ask({"script": {"inline": "x" * 1_000_000}})
    assert answer.status_code == 422
    assert "spec.script.inline: Too long: may not be more than 65536 bytes" in answer.text
    answer = judge.ask({"function": "a:b"}, annotations={"a": "x" * 263_000})
    assert "metadata.annotations: Too long" in answer.text
    assert judge.ask({"function": "a:b"}, annotations={"a": "x" * 250_000}).status_code == 201


def test_the_largest_rayjob_can_be_stored(judge: Judge) -> None:
    """F39: etcd takes what the operator sends at most."""
    uris = ("pvc://claim/out", "pvc://claim/out/checkpoints")
    env = [{"name": f"E{number}", "value": "x" * 32768} for number in range(21)]
    spec = TrainingJobSpec.model_validate({"function": "a:b", "env": env})
    job = TrainingJobContext("large", "default", "uid", spec, "image", "2.60.0", *uris)
    large = rayjob(job, AttemptContext(1, 60))
    large["metadata"]["annotations"] = {"fill": ""}
    size = len(json.dumps(large, separators=(",", ":")))
    assert MAX_BYTES - 65536 < size <= MAX_BYTES
    large["metadata"]["annotations"]["fill"] = "x" * (MAX_BYTES - size)
    answer = judge.send(large, "ray.io/v1/rayjobs", store=True)
    assert answer.status_code == 201, answer.text
    judge.client.delete("/apis/ray.io/v1/namespaces/default/rayjobs/large-a1")


URIS = {
    "file:///etc/passwd": False,
    "FILE:///etc/passwd": False,
    "gs://bucket/x": False,
    "javascript:alert(1)": False,
    "s3://b/../x": False,
    "pvc://claim/../../etc": False,
    "pvc://../x": False,
    "pvc://?watch=true/x": False,
    "pvc://%2e%2e/x": False,
    "pvc://$(id)/x": False,
    "pvc://UPPER/x": False,
    "s3://b/x y": False,
    "s3://b/x\n": False,
    "s3://b/;id;`id`$(id)": True,  # Only ever a key in a bucket.
    "s3://b/%2e%2e/x": True,
    # Downloaded by the job's own pods, whose code may ask there as well.
    "http://169.254.169.254/latest/meta-data": True,
    "https://example.com/x?a=b": True,
}


@pytest.mark.parametrize("uri", URIS)
def test_schemes_are_listed_and_nothing_leads_out(judge: Judge, uri: str) -> None:
    """F40: of inputs, archives, outputs, checkpoints and where to resume from."""
    places: list[Spec] = [
        {"function": "a:b", "inputs": [{"name": "a", "source": {"uri": uri}}]},
        {"script": {"archiveUri": uri}},
    ]
    writable: list[Spec] = [
        {"function": "a:b", "output": {"uri": uri}},
        {"function": "a:b", "checkpoint": {"uri": uri}},
        {"function": "a:b", "checkpoint": {"resumeFrom": uri}},
    ]
    for spec in places:
        assert judge.agree(spec) is URIS[uri], spec
    for spec in writable:
        assert judge.agree(spec) is (URIS[uri] and not uri.startswith("http")), spec


def test_labels_of_the_operator_are_its_own(judge: Judge) -> None:
    """F40: nobody's pods pass for those of another job."""
    for name in ("name", "attempt"):
        labels = {"pod": {"labels": {f"loopwright.io/{name}": "7", "team": "a"}}}
        for spec in (labels, {"head": labels}):
            assert not judge.agree({"function": "a:b", **spec})
    cluster, _ = made(judge, {"function": "a:b", "pod": {"labels": {"team": "a"}}})
    spec = cluster["spec"]["rayClusterSpec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        labels = group["template"]["metadata"]["labels"]
        assert labels["loopwright.io/name"] == "job"
        assert labels["loopwright.io/attempt"] == "1"
        assert labels["team"] == "a"


BAD_LABELS = {
    "": "",
    "a b": "c",
    "a": "b c",
    "é": "a",
    "b": "é",
    "/a": "b",
    "A.B/c": "d",
    "d": "x" * 64,
}


@pytest.mark.parametrize("key", BAD_LABELS)
@pytest.mark.parametrize("where", ["pod", "head", "nodes", "spot"])
def test_what_is_no_label_is_refused(judge: Judge, where: str, key: str) -> None:
    """F38 and F40: or its pods could not be made, and nobody would say why."""
    label = {key: BAD_LABELS[key]}
    spec: Spec = {
        "pod": {"pod": {"labels": label}},
        "head": {"head": {"pod": {"labels": label}}},
        "nodes": {"pod": {"nodeSelector": label}},
        "spot": {"spot": {"nodeSelector": label}},
    }[where]
    assert not judge.agree({"function": "a:b", **spec})
