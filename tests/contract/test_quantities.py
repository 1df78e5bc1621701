"""F41: a quantity means the same to us as to Kubernetes."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from specs import Judge

from loopwright.api import quantity

SOME = (
    "1e3", "1E3", "1e-3", "0.1", "100m", "1Ei", "1E", "7.9Ei", "8Ei", "9E", "10E", "1.5Gi", "0.5n",
    "1n", "1.000000001n", "0.000000001m", "0.123456789", "1234.123456789Pi", "1.1u", "001", "1.50",
    "9223372036854775807", "9223372036854775808", "9999999999999999999", "9007199254740993",
    "9223372036854775806.999999999", "0.999999999Ki", "1e+2", "1e9",
)  # fmt: skip
AT_ONCE = 100


def canonical(judge: Judge, texts: list[str]) -> list[str]:
    """Quantities as Kubernetes writes them, by way of a template that is never stored."""
    volumes = [
        {"name": f"v{number}", "emptyDir": {"sizeLimit": text}} for number, text in enumerate(texts)
    ]
    spec = {"containers": [{"name": "c", "image": "none"}], "volumes": volumes}
    meta = {"metadata": {"name": "zoo", "labels": {"a": "b"}}}
    obj = {"apiVersion": "v1", "kind": "PodTemplate", **meta, "template": {**meta, "spec": spec}}
    answer = judge.send(obj, "v1/podtemplates")
    assert answer.status_code == 201, answer.text
    found = answer.json()["template"]["spec"]["volumes"]
    return [volume["emptyDir"]["sizeLimit"] for volume in found]


UNITS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def number(text: str) -> Fraction:
    """A quantity as Kubernetes writes it, which may be longer than ours."""
    shape = re.fullmatch(r"([0-9.]+)(?:[eE]([+-]?[0-9]+)|([KMGTPE])i|([numkMGTPE]?))", text)
    assert shape, text
    digits, exponent, binary, unit = shape.groups()
    if binary:
        return Fraction(digits) * 1024 ** (1 + "KMGTPE".index(binary))
    return Fraction(digits) * Fraction(10) ** (int(exponent) if exponent else UNITS[unit])


def check(judge: Judge, texts: list[str]) -> None:
    """What we read is what Kubernetes reads, and writes in its own way."""
    for text, known in zip(texts, canonical(judge, texts), strict=True):
        assert Fraction(quantity.parse(text)) == number(known), f"{text} is {known}"


def test_the_zoo(judge: Judge) -> None:
    """F41: those that are known to differ between parsers."""
    check(judge, list(SOME))


def test_usual_ones_are_written_alike(judge: Judge) -> None:
    """Or what is stored would differ from what was wanted."""
    usual = [
        "0.5", "1", "1.5", "2.0", "250m", "1000m", "1500m", "16", "0.1", "0.125", "1000", "1e3",
        "512Mi", "1024Mi", "1000Mi", "1.5Gi", "0.5Gi", "2Gi", "1Ti", "1024Ki", "500M", "2000k",
        "1G", "1073741824", "100n", "007", "0500m",
    ]  # fmt: skip
    assert [quantity.canonical(one) for one in usual] == canonical(judge, usual)


def test_quantities_mean_the_same(judge: Judge) -> None:
    """F41: any that fits our pattern."""
    texts: list[str] = []

    @settings(
        max_examples=1000, derandomize=True, database=None, deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(st.from_regex(quantity.PATTERN, fullmatch=True))
    def collect(text: str) -> None:
        texts.append(text)

    collect()
    # Not one by one, which would take a thousand requests.
    for start in range(0, len(texts), AT_ONCE):
        check(judge, texts[start : start + AT_ONCE])


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1 ", "1ki", "1KI", "NaN", "inf", "0x1", "1e", "1_0"]
)
def test_what_kubernetes_does_not_read_we_do_not_either(judge: Judge, text: str) -> None:
    """F41: or what would make no sense; ours is a little stricter."""
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity.parse(text)
    assert judge.ask({"function": "a:b", "resourcesPerWorker": {"memory": text}}).status_code == 422
