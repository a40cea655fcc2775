"""Adapters become activities under their ports' names; what does not fit is said when the worker starts."""

from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from typing_extensions import override

from lull.domain import ports
from lull.domain.errors import OperatorError
from lull.domain.ports import (
    ForecastPort,
    GovernorOrdersPort,
    GovernorPort,
    LedgerPort,
    PagesPort,
    PlanningPort,
    ReportPort,
)
from lull.domain.slice import SliceReport, SliceTask
from lull.workers.registration import RegistrationError, activity_names, all_ports, register


class WholePages(PagesPort):
    @override
    async def run_slice(self, task: SliceTask) -> SliceReport:
        raise OperatorError(f"no partition {task.partition}")


class BarePages(PagesPort):
    pass


class BlockingPages(PagesPort):
    @override
    def run_slice(self, task: SliceTask) -> SliceReport:  # type: ignore[override]
        raise NotImplementedError


class HalfLedger(LedgerPort):
    @override
    async def publish(self, request: Any) -> None:
        return


def name_of(registered: Any) -> str | None:
    return activity._Definition.must_from_callable(registered).name


def test_every_port_of_the_domain_is_known_with_every_activity():
    """A port that this does not see would be served by nobody."""
    assert all_ports() == {
        PlanningPort, LedgerPort, PagesPort, GovernorPort, GovernorOrdersPort, ReportPort, ForecastPort,
    }  # fmt: skip
    assert sorted(name for port in all_ports() for name in activity_names(port)) == sorted(
        [
            "plan", "open", "doctor", "publish", "raise_fences", "close", "run_slice", "govern", "order", "report",
            "forecast",
        ]
    )  # fmt: skip


def test_an_override_is_registered_under_its_ports_name_and_types():
    (registered,) = register([WholePages()], serving=[PagesPort])

    definition = activity._Definition.must_from_callable(registered)
    assert (definition.name, definition.arg_types, definition.ret_type) == ("lull.slice", [SliceTask], SliceReport)
    assert definition.is_async


async def test_a_registered_activity_runs_its_own_adapter_and_lets_no_foreign_error_out():
    (registered,) = register([WholePages()], serving=[PagesPort])
    task = SliceTask(job="j", cluster="main", incarnation=1, partition=7, epoch=0)

    with pytest.raises(ApplicationError, match="no partition 7") as caught:
        await ActivityEnvironment().run(registered, task)
    assert (caught.value.type, caught.value.non_retryable) == ("OperatorError", True)


def test_two_adapters_of_one_class_stay_apart():
    """A definition on the class would let the second worker of a process run the first one's adapter."""
    one, other = WholePages(), WholePages()
    assert register([one], serving=[PagesPort])[0].__wrapped__.__self__ is one  # type: ignore[attr-defined]
    assert register([other], serving=[PagesPort])[0].__wrapped__.__self__ is other  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("adapters", "sentence"),
    [
        ([BarePages()], r"BarePages does not override PagesPort.run_slice"),
        ([BlockingPages()], r"BlockingPages.run_slice is not async"),
        ([WholePages(), WholePages()], "PagesPort has two adapters"),
        ([object()], "object is no adapter"),
        ([], "no adapter for PagesPort"),
        ([WholePages(), HalfLedger()], "LedgerPort is not served by this worker"),
    ],
)
def test_what_does_not_fit_its_port_is_refused(adapters: list[object], sentence: str):
    with pytest.raises(RegistrationError, match=sentence):
        register(adapters, serving=[PagesPort])


def test_a_port_method_without_override_is_refused_by_name():
    with pytest.raises(RegistrationError, match=r"HalfLedger does not override LedgerPort.raise_fences"):
        register([HalfLedger()], serving=[LedgerPort])


def test_without_a_choice_every_port_of_the_domain_needs_an_adapter():
    with pytest.raises(
        RegistrationError,
        match="no adapter for ForecastPort, GovernorOrdersPort, GovernorPort, LedgerPort, PlanningPort, ReportPort",
    ):
        register([WholePages()])


def test_a_port_added_to_the_domain_is_missed_at_once(monkeypatch: pytest.MonkeyPatch):
    class NewPort:
        @activity.defn(name="lull.new")
        async def new(self) -> None:
            raise NotImplementedError

    NewPort.__module__ = ports.__name__
    monkeypatch.setattr(ports, "NewPort", NewPort, raising=False)
    with pytest.raises(RegistrationError, match=r"no adapter for .*, LedgerPort, NewPort, PlanningPort"):
        register([WholePages()])


def test_the_workers_own_adapters_serve_every_port():
    from lull.activities.forecasting import Forecasting
    from lull.activities.governing.adapter import Governing, GovernorOrders
    from lull.activities.ledger import Ledger
    from lull.activities.mongo import Clusters
    from lull.activities.pages import Pages
    from lull.activities.planning import Planning
    from lull.activities.reporting import Reporting
    from lull.activities.transforms import Registry

    clusters, registry = Clusters({}), Registry()
    adapters: list[object] = [Planning(clusters, registry), Ledger(clusters), Pages(clusters, registry)]
    adapters += [Governing(clusters), GovernorOrders(clusters), Reporting(clusters)]
    adapters += [Forecasting(clusters, registry)]
    registered = register(adapters)

    assert sorted(str(name_of(one)) for one in registered) == [
        "lull.close", "lull.doctor", "lull.forecast", "lull.govern", "lull.open", "lull.order_governor", "lull.plan",
        "lull.publish", "lull.raise_fences", "lull.report", "lull.slice",
    ]  # fmt: skip
