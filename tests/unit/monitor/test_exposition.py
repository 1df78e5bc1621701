"""Reading a server's metrics, with the official client and its parser as the measure."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from loopwright.monitor.exposition import Counters, parse
from loopwright.monitor.measure import quantile
from loopwright.serving.metrics import Metrics
from loopwright.serving.settings import Settings

HOSTILE = st.text(st.sampled_from('a",{}\\\n =5code_le'), max_size=12)


def served(answers: list[tuple[str, str, str, int, float]], started: bool = True) -> str:
    """The text of a server that gave answers of (endpoint, variant, protocol, code, seconds)."""
    registry = CollectorRegistry()
    labels = ["endpoint", "variant"]
    requests = Counter(
        "loopwright_serving_requests", "Requests", [*labels, "protocol", "code"], registry=registry
    )
    seconds = Histogram(
        "loopwright_serving_request_seconds", "Latency", labels, buckets=(0.01, 0.1, 1.0),
        registry=registry,
    )  # fmt: skip
    flight = Gauge("loopwright_serving_in_flight", "In flight", labels, registry=registry)
    Counter("loopwright_serving_requests_total_of_others", "A longer name", registry=registry).inc()
    if started:
        Gauge("process_start_time_seconds", "Start", registry=registry).set(1.7e9)
    for endpoint, variant, protocol, code, took in answers:
        requests.labels(endpoint, variant, protocol, str(code)).inc()
        seconds.labels(endpoint, variant).observe(took)
        flight.labels(endpoint, variant).inc()
    return generate_latest(registry).decode()


ANSWERS = st.lists(
    st.tuples(HOSTILE, HOSTILE, st.sampled_from(["v1", "v2", "grpc"]),
              st.sampled_from([200, 400, 499, 500, 503]), st.floats(0, 5)),
    max_size=8,
)  # fmt: skip


@given(ANSWERS)
def test_it_reads_what_the_official_parser_reads(answers: list) -> None:
    text = served(answers)
    requests = errors = flight = 0.0
    buckets: dict[float, float] = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if one.name == "loopwright_serving_requests_total":
                requests += one.value
                errors += one.value if int(one.labels["code"]) >= 500 else 0
            elif one.name == "loopwright_serving_request_seconds_bucket":
                bound = float(one.labels["le"])
                buckets[bound] = buckets.get(bound, 0) + one.value
            elif one.name == "loopwright_serving_in_flight":
                flight += one.value
    found = parse(text)
    assert found is not None
    assert found.counters == Counters(requests, errors, buckets)
    assert (found.in_flight, found.started) == (flight, 1.7e9)


def test_it_reads_our_own_server() -> None:
    model: Any = SimpleNamespace(name="digits", version="1", digest="")
    metrics = Metrics(Settings(endpoint="digits", variant="main"), model)
    assert parse(metrics.text().decode()) is not None
    for protocol, code, seconds in (("v1", 200, 0.002), ("grpc", 503, 0.2), ("v2", 400, 9.0)):
        metrics.begin()
        metrics.end(protocol, code, seconds)
    metrics.begin()
    found = parse(metrics.text().decode())
    assert found is not None
    assert (found.counters.requests, found.counters.errors, found.in_flight) == (3, 1, 1)
    assert found.counters.buckets[math.inf] == 2
    assert quantile(0.99, found.counters.buckets) == pytest.approx(0.25, rel=0.02)
    assert found.started is not None


def test_a_server_without_requests_is_known() -> None:
    found = parse(served([], started=False))
    assert found is not None
    assert (found.counters, found.started) == (Counters(), None)


def test_other_servers_are_not() -> None:
    text = "# TYPE request_predict_seconds histogram\nrequest_predict_seconds_count 5\n"
    assert parse(text) is None
    assert parse("") is None
    assert parse("<html>") is None


def test_timestamps_and_odd_spaces_are_allowed() -> None:
    text = (
        'loopwright_serving_requests_total{ code="500" , variant="a" }  3  1700000000000\n'
        'loopwright_serving_requests_total{code="200",variant="b"}\t4\n'
        'loopwright_serving_request_seconds_bucket{le="+Inf",} 7\n'
    )
    found = parse(text)
    assert found is not None
    assert found.counters == Counters(7, 3, {math.inf: 7})


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "five"])
def test_what_no_counter_can_be_is_malformed(value: str) -> None:
    with pytest.raises(ValueError):
        parse(f'loopwright_serving_requests_total{{code="200"}} {value}\n')


def test_hostile_text_takes_no_time() -> None:
    parse("loopwright_serving_requests_total{" + 'a="' * 200_000)
    parse("loopwright_serving_requests_total{" + "\\" * 500_000)
    parse('loopwright_serving_requests_total{a="' + '"b"' * 200_000)
