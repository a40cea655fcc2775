"""No page without the governor's leave: what slices do about budgets, silence, shut gates, shares and turns."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from lull.activities import leave, slices
from lull.activities.store import BUDGET_ID, GOVERNOR, ORDERS_ID, WORKER_PREFIX
from lull.domain.governor import budget as budgets
from lull.domain.governor.budget import Budget, JobShare, Mode, Spending
from lull.domain.slice import SliceEnd

DOCS = 100


class Governor:
    """Says what a test wants it to say, often enough to be believed."""

    def __init__(self, world: Any) -> None:
        self.collection = world.cluster.ledger(GOVERNOR)
        self.budget = Budget()
        self._sequence = 0
        self._silent = threading.Event()
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._speak)

    def start(self, **fields: Any) -> None:
        self.say(**fields)
        self._thread.start()

    def say(self, **fields: Any) -> None:
        """The budget has these values, and stands in the ledger."""
        with self._guard:
            self.budget = self.budget.model_copy(update=fields)
            self._sequence += 1
            said = self.budget.model_copy(update={"sequence": self._sequence, "at": datetime.now(UTC)})
            self.collection.update_one({"_id": BUDGET_ID}, {"$set": said.model_dump()}, upsert=True)

    def fall_silent(self) -> None:
        self._silent.set()
        if self._thread.is_alive():
            self._thread.join()

    def _speak(self) -> None:
        while not self._silent.wait(0.1):
            self.say()

    def accounts(self) -> list[Spending]:
        found = self.collection.find({"_id": {"$regex": f"^{WORKER_PREFIX}"}})
        return [Spending.model_validate(each) for each in found]

    def forget(self) -> None:
        self.collection.delete_many({})


@pytest.fixture
def governed(make_governed: Any, mongo_uri: str) -> Any:
    return make_governed(mongo_uri)


@pytest.fixture
def governor(governed: Any) -> Iterator[Governor]:
    made = Governor(governed)
    made.forget()
    yield made
    made.fall_silent()
    made.forget()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices give their slots back after a moment, and watches end with their last slice."""
    monkeypatch.setattr(slices, "GATED_SECONDS_MAX", 0.5)
    monkeypatch.setattr(leave, "LINGER_SECONDS", 0.0)


@pytest.fixture
def spec(governed: Any) -> Any:
    governed.fill([{"_id": key} for key in range(DOCS)])
    return governed.spec("transform", transform=governed.transform(lambda _: {"done": True}), page_docs=10)


async def test_without_a_word_of_the_governor_no_page_is_written_and_the_slot_is_given_back(
    governed: Any, governor: Governor, spec: Any
):
    governor.forget()
    governed.open(spec)
    report = await governed.slice(spec)
    assert (report.end, report.snapshot.counts.pages) == (SliceEnd.WAITING, 0)
    assert report.waited_s.keys() == {"governor: silent"}
    assert report.resume_after_s > 0


async def test_a_budget_lets_pages_through(governed: Any, governor: Governor, spec: Any):
    governor.start(floor=1.0)
    governed.open(spec)
    assert (await governed.slice(spec)).end is SliceEnd.DONE
    assert all(document["done"] for document in governed.by_id().values())


async def test_a_budget_whose_sequence_stands_still_is_no_budget(
    governed: Any, governor: Governor, spec: Any, monkeypatch: pytest.MonkeyPatch
):
    """A dead governor's last word says nothing of the foreground of now, however open its gate was."""
    monkeypatch.setattr(budgets, "STALE_SECONDS", 0.0)
    governor.say(floor=1.0)
    governed.open(spec)
    report = await governed.slice(spec)
    assert (report.end, report.snapshot.counts.pages) == (SliceEnd.WAITING, 0)


async def test_a_gate_that_shuts_stops_the_slice_before_its_next_page_and_says_why(
    governed: Any, governor: Governor, hooked: Any
):
    governed.fill([{"_id": key} for key in range(DOCS)])
    governor.start(floor=1.0)

    def shut() -> None:
        governor.say(is_open=False, reason="read-p99 41 ms >= 12 ms", label="read-p99")
        (watch,) = governed.pages._budgets._watches.values()
        while watch.leave("any").is_open:
            threading.Event().wait(0.01)

    told = hooked(lambda d: {"n": d.get("n", 0) + 1}, lambda d: d["_id"] == 35, shut)
    spec = governed.spec("transform", transform=governed.transform(told), page_docs=10)
    governed.open(spec)
    report = await governed.slice(spec)
    done = report.snapshot.counts.changed
    # The page in hand is written, and so is the one that was let through while the next was computed.
    assert (report.end, done in {30, 40}) == (SliceEnd.WAITING, True)
    assert "governor: read-p99" in report.waited_s
    governor.say(is_open=True, reason="", label="")
    assert (await governed.slice(spec)).end is SliceEnd.DONE
    assert [document["n"] for document in governed.by_id().values()] == [1] * DOCS


async def test_a_line_written_by_hand_shuts_every_job_whatever_the_governor_says(
    governed: Any, governor: Governor, spec: Any
):
    governor.start(floor=1.0)
    governor.collection.update_one({"_id": ORDERS_ID}, {"$set": {"shut_by_hand": True}}, upsert=True)
    governed.open(spec)
    report = await governed.slice(spec)
    assert (report.end, report.snapshot.counts.pages) == (SliceEnd.WAITING, 0)
    assert "governor: shut by hand" in report.waited_s


async def test_a_governor_that_only_observes_is_not_obeyed(governed: Any, governor: Governor, spec: Any):
    governor.start(mode=Mode.OBSERVE, is_open=False, floor=0.0)
    governed.open(spec)
    assert (await governed.slice(spec)).end is SliceEnd.DONE


async def test_pages_are_no_larger_than_the_budget_allows(governed: Any, governor: Governor, spec: Any):
    governor.start(floor=1.0, docs_max=7)
    governed.open(spec)
    report = await governed.slice(spec)
    assert (report.end, report.snapshot.counts.pages >= DOCS / 7) == (SliceEnd.DONE, True)


async def test_a_small_share_is_paid_for_with_rest(governed: Any, governor: Governor, spec: Any):
    governor.start(shares=(JobShare(job=spec.job, duty=0.1, slices=1),))
    governed.open(spec)
    report = await governed.slice(spec)
    assert report.end is SliceEnd.DONE
    assert report.waited_s["governor pace"] > report.active_s


async def test_the_governor_is_told_which_slices_live_and_what_they_cost(
    governed: Any, governor: Governor, spec: Any, eventually: Any
):
    governor.start(is_open=False, label="test")
    governed.open(spec)
    running = asyncio.create_task(governed.slice(spec))
    await eventually(lambda: any(job.slices == 1 for told in governor.accounts() for job in told.jobs))
    governor.say(is_open=True, floor=1.0)
    assert (await running).end is SliceEnd.DONE
    await eventually(
        lambda: any(job.slices == 0 and job.busy_s > 0 for told in governor.accounts() for job in told.jobs)
    )
    assert governor.accounts()[0].ops >= 10 * 4


def test_turns_are_taken_one_at_a_time_and_in_order():
    turns, order, inside = leave.Turns(), [], 0
    first = threading.Event()

    def take(number: int) -> None:
        nonlocal inside
        with turns.turn(1):
            inside += 1
            assert inside == 1
            order.append(number)
            first.wait(0.2)
            inside -= 1

    threads = []
    for number in range(3):
        threads.append(threading.Thread(target=take, args=(number,)))
        threads[-1].start()
        while len(turns._queue) + turns._taken + len(order) < number + 1:
            threading.Event().wait(0.001)
    first.set()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2]
