"""Prices, estimates and budgets: exact sums, and work that ends when it has cost enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fake_client import World as Client
from hypothesis import given
from hypothesis import strategies as st
from worlds import World

from loopwright import metrics
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.modelendpoint_status import ModelEndpointStatus, VariantStatus
from loopwright.api.resources import Key
from loopwright.api.shared import Resources
from loopwright.api.trainingjob_status import Cause, Phase
from loopwright.decide.endpoint_cost import accrued
from loopwright.decide.prices import Prices, PricesMalformed, added, parse
from loopwright.decide.types import Observed
from loopwright.kube import errors
from loopwright.reconcile.prices import PriceList

TABLE = {
    "currency": "EUR",
    "cpu-hour": "0.04",
    "memory-gib-hour": "0.005",
    "gpu-hour": "2.5",
    "gpu-hour.amd.com_gpu": "1.25",
    "spot-factor": "0.3",
}
PRICES = parse(TABLE)
GPU = {"cpu": "4", "memory": "16Gi", "gpu": 1}


class Priced(World):
    """A job in a cluster with a price table."""

    prices: Prices | None = PRICES

    def seen(self) -> Observed:
        return Observed(**{**vars(super().seen()), "prices": self.prices})

    def raises(self, **budget: Any) -> Priced:
        """A person changes the budget."""
        spec = {**self.spec.wire(), "budget": budget or None}
        self.spec = type(self.spec).model_validate(spec)
        return self


def test_what_a_pod_costs_in_an_hour() -> None:
    assert PRICES.hour(Resources.model_validate(GPU)) == Decimal("2.74")
    other = Resources.model_validate({**GPU, "gpuResource": "amd.com/gpu"})
    assert PRICES.hour(other, spot=True) == Decimal("0.447")
    assert parse({"currency": "EUR"}).hour(other) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"currency": ""}, "key 'currency' must be a word of letters, for example EUR"),
        ({"cpu-hour": "0,04"}, "key 'cpu-hour' must be a number such as 0.04, not '0,04'"),
        ({"gpu-hour": "-1"}, "key 'gpu-hour' must be a number such as 0.04, not '-1'"),
        ({"spot-factor": "30"}, "key 'spot-factor' must be a share from 0 to 1"),
        ({"gpu-hours": "1"}, "key 'gpu-hours' is none of currency, cpu-hour"),
        ({"cpu-hour": "nan"}, "key 'cpu-hour' must be a number"),
    ],
)
def test_a_table_that_makes_no_sense_says_which_key(change: dict[str, str], said: str) -> None:
    with pytest.raises(PricesMalformed, match="key") as error:
        parse({**TABLE, **change})
    assert str(error.value).startswith(said)


@given(st.dictionaries(st.sampled_from([*TABLE, "x"]), st.text(max_size=12)))
def test_no_table_breaks_anything(table: dict[str, str]) -> None:
    try:
        assert parse(table).hour(Resources()) >= 0
    except PricesMalformed as error:
        assert "\n" not in str(error)


def test_many_small_amounts_add_up_exactly() -> None:
    total = None
    for _ in range(1000):
        total = added(total, Decimal("0.1"))
    assert total == "100"
    assert added(total, Decimal("1e-6")) == "100.000001"


def test_an_attempt_costs_what_its_pods_do() -> None:
    world = Priced(numWorkers=2, resourcesPerWorker=GPU, spot={"enabled": True}, checkpoint={},
                   head={"resources": {"cpu": "1", "memory": "2Gi"}})  # fmt: skip
    world.run()
    assert world.status.cost.estimate is None
    world.kuberay(1, "Complete", "SUCCEEDED").step(3600)
    # Two workers on spot nodes at 0.3 of 2.74, and a head at 0.05.
    assert (world.status.cost.estimate, world.status.cost.currency) == ("1.694", "EUR")
    assert world.status.attempts[0].spot is True


def test_without_a_table_nothing_is_said_of_money() -> None:
    world = Priced(numWorkers=0)
    world.prices = None
    world.run().kuberay(1, "Complete", "SUCCEEDED").step(3600)
    assert world.status.cost.estimate is None
    assert "estimate" not in world.status.cost.wire()


def test_another_currency_is_not_added() -> None:
    world = Priced(numWorkers=0, resourcesPerWorker=GPU, retry={"backoffSeconds": 1})
    world.run().kuberay(1, "Failed", "FAILED").step(3600)
    world.prices = parse({**TABLE, "currency": "USD"})
    world.step(10)
    world.kuberay(2, "Running", "RUNNING").step()
    world.kuberay(2, "Complete", "SUCCEEDED").step(3600)
    assert (world.status.cost.estimate, world.status.cost.currency) == ("2.74", "EUR")
    assert world.status.cost.gpu_seconds == 7200


def condition(world: World, name: str) -> tuple[str, str]:
    found = {one.type: one for one in world.status.conditions}[name]
    return found.status.value, found.reason


BUDGETS = pytest.mark.parametrize("budget", [{"maxGpuHours": "1"}, {"maxCost": "2.74"}])


@BUDGETS
def test_a_job_that_has_cost_enough_waits_for_a_larger_budget(budget: dict[str, str]) -> None:
    world = Priced(numWorkers=0, resourcesPerWorker=GPU, budget=budget).run()
    assert condition(world, "BudgetExceeded") == ("False", "WithinBudget")
    assert world.decision.requeue == 3600
    world.step(3599)
    assert world.status.phase is Phase.RUNNING
    world.step(1)
    assert world.status.attempts[0].cause is Cause.SUSPENDED
    assert [one.reason for one in world.decision.happenings] == ["BudgetExceeded"]
    for _ in range(3):
        world.step(100)
        assert world.status.phase is Phase.SUSPENDED
    assert condition(world, "BudgetExceeded") == ("True", "BudgetExceeded")
    assert condition(world, "Ready") == ("False", "BudgetExceeded")
    [ready] = [one.message for one in world.status.conditions if one.type == "Ready"]
    assert ready.endswith("raise it to go on")
    assert not world.decision.happenings
    # Raised, it goes on where it was, with what is left.
    world.raises(**{key: "5.48" if key == "maxCost" else "2" for key in budget})
    for _ in range(3):
        world.step()
    assert world.status.attempt == 2
    world.kuberay(2, "Running", "RUNNING").step()
    assert condition(world, "BudgetExceeded") == ("False", "WithinBudget")
    world.step(3600)
    world.step()
    assert world.status.phase is Phase.SUSPENDED


@BUDGETS
def test_a_job_may_fail_by_its_budget(budget: dict[str, str]) -> None:
    world = Priced(numWorkers=0, resourcesPerWorker=GPU, budget={**budget, "action": "Stop"}).run()
    world.step(3600)
    assert world.status.phase is Phase.FAILED
    assert world.status.last_error is not None
    assert world.status.last_error.reason == "BudgetExceeded"
    assert condition(world, "BudgetExceeded") == ("True", "BudgetExceeded")
    assert not world.status.last_error.retriable


@pytest.mark.parametrize(("action", "phase"), [("Suspend", "Suspended"), ("Stop", "Failed")])
def test_no_attempt_follows_a_failure_that_used_up_the_budget(action: str, phase: str) -> None:
    budget = {"maxGpuHours": "1", "action": action}
    world = Priced(numWorkers=0, resourcesPerWorker=GPU, budget=budget).run()
    world.kuberay(1, "Failed", "FAILED").step(3600)
    world.step(60)
    assert (world.status.phase, world.status.attempt) == (phase, 1)


def test_what_was_reached_within_the_budget_counts() -> None:
    world = Priced(numWorkers=0, resourcesPerWorker=GPU, budget={"maxGpuHours": "1"}).run()
    world.kuberay(1, "Complete", "SUCCEEDED").step(4000)
    assert world.status.phase is Phase.SUCCEEDED


def test_money_without_prices_limits_nothing_and_says_so() -> None:
    world = Priced(numWorkers=0, resourcesPerWorker=GPU, budget={"maxCost": "0.01"})
    world.prices = None
    world.run().step(3600)
    assert world.status.phase is Phase.RUNNING
    assert condition(world, "BudgetExceeded") == ("Unknown", "NoPrices")
    world.prices = PRICES
    world.step()
    world.step()
    assert world.status.phase is Phase.SUSPENDED


def endpoint(replicas: int, **more: Any) -> ModelEndpointStatus:
    return ModelEndpointStatus(variants=[VariantStatus(name="main", replicas=replicas)], **more)


def test_an_endpoint_is_charged_when_it_changes_or_once_an_hour() -> None:
    spec = ModelEndpointSpec.model_validate(
        {"variants": [{"name": "main", "model": {"modelVersionRef": {"name": "m"}},
                       "resources": GPU}]}
    )  # fmt: skip
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert accrued(spec, endpoint(1), endpoint(2), None, now).cost is None
    status = accrued(spec, endpoint(1), endpoint(1), PRICES, now)
    assert status.cost is not None
    assert (status.cost.estimate, status.cost.until) == ("0", now)
    # Nothing happens, and nothing is written.
    soon = now + timedelta(minutes=59)
    assert accrued(spec, status, endpoint(1), PRICES, soon) == status
    # Whatever changes, the pods until now are those that were there.
    grown = accrued(spec, status, endpoint(3), PRICES, now + timedelta(minutes=30))
    assert grown.cost is not None
    assert (grown.cost.replica_seconds, grown.cost.gpu_seconds) == (1800, 1800)
    assert grown.cost.estimate == "1.37"
    hour = accrued(spec, grown, endpoint(3), PRICES, now + timedelta(minutes=90))
    assert hour.cost is not None
    assert (hour.cost.replica_seconds, hour.cost.estimate) == (1800 + 3 * 3600, "9.59")
    other = parse({**TABLE, "currency": "USD"})
    kept = accrued(spec, hour, endpoint(0), other, now + timedelta(hours=9))
    assert kept.cost is not None
    assert (kept.cost.estimate, kept.cost.currency) == ("9.59", "EUR")
    # A clock that is behind takes nothing back.
    assert accrued(spec, kept, endpoint(1), PRICES, now).cost == kept.cost


def test_costs_are_counted_by_namespace_and_kind() -> None:
    def total() -> float:
        return metrics.COST.labels("costly", "TrainingJob")._value.get()

    key = Key("TrainingJob", "costly", "x")
    metrics.spent(key, None, "1.5")
    metrics.spent(key, "1.5", "1.75")
    metrics.spent(key, "1.75", "1.75")
    assert total() == 1.75


class Tables(Client):
    """An API server with a ConfigMap in the operator's namespace."""

    class clock:  # noqa: N801 (as the client's)
        now = staticmethod(lambda: datetime(2026, 1, 1, tzinfo=UTC))

    def holds(self, **data: str) -> None:
        self.version += 1
        meta = {"name": "prices", "namespace": "o", "uid": "u"}
        meta["resourceVersion"] = str(self.version)
        self.others["prices"] = {"metadata": meta, "data": data}


async def test_a_table_is_read_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    world = Tables()
    server: Any = world
    prices = PriceList(server, server, "o", "prices")
    for _ in range(2):
        assert not await prices.look()
    assert len(caplog.records) == 1
    world.holds(**TABLE)
    assert await prices.look()
    assert prices.prices() == PRICES
    assert not await prices.look()
    # Nonsense is said once, and what was known stays.
    caplog.clear()
    world.calls.clear()
    world.holds(**{**TABLE, "cpu-hour": "cheap"})
    for _ in range(3):
        assert not await prices.look()
    assert [one.message for one in caplog.records] == [
        "price table 'prices': key 'cpu-hour' must be a number such as 0.04, not 'cheap'; the"
        " prices before stay"
    ]
    assert world.calls.count("Event") == 1
    assert prices.prices() == PRICES
    world.others.clear()
    assert await prices.look()
    assert prices.prices() is None
    world.holds(**TABLE)
    assert await prices.look()


async def test_a_server_that_does_not_answer_changes_no_price(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Tables()
    server: Any = world
    prices = PriceList(server, server, "o", "prices")
    world.holds(**TABLE)
    assert await prices.look()

    async def fails(*_: Any) -> None:
        raise errors.Unavailable("away")

    monkeypatch.setattr(world, "get", fails)
    assert not await prices.look()
    assert prices.prices() == PRICES
    assert not await PriceList(server, server, "o", "").look()
