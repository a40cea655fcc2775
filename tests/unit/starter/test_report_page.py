"""The page: whole in itself, readable without its script, and never a vessel for what somebody wrote."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from typing_extensions import override

from lull.domain.lifecycle import Status
from lull.domain.report import Condition, Facts, Felt, Own, Series, Stop, Stops, Timeline
from lull.domain.slice import Counts
from lull.starter.report_page import page, pauses, verdict
from lull.starter.reporting import Happening, Reported

BEGAN = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&"
VOID = {"meta", "img", "br", "link", "input"}


def later(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def facts(**fields: Any) -> Facts:
    known = {
        "job": "orders-1", "kind": "update", "cluster": "main", "namespace": "shop.orders",
        "status": Status.COMPLETED, "incarnation": 1, "guarantee": "exactly once: one transaction",
        "started_at": BEGAN, "ended_at": later(60), "counts": Counts(scanned=6_000, seen=6_000, changed=6_000),
        "documents": 6_000, "partitions": 3, "partitions_done": 3, "active_s": 50.0,
        "waited_s": {"canary": 20.0, "budget": 30.0}, "steps": ((40.0, 3_000), (80.0, 6_000)),
    }  # fmt: skip
    return Facts.model_validate(known | fields)


def felt(op: str, condition: Condition, p90: float, samples: int = 100) -> Felt:
    return Felt(op=op, condition=condition, samples=samples, operations=20 * samples, p50=p90 / 2, p90=p90, p99=p90 * 3)


def drawn(**fields: Any) -> Timeline:
    known: dict[str, Any] = {
        "from_at": later(-30), "to_at": later(90), "samples": 3, "at_s": (30.0, 31.0, 32.0),
        "series": (Series(name="read-p50", mid=(1.0, 1.5, None)),), "zone": (0, 0, 1), "zones": ("keep", "stop"),
        "shut": (0.0, 0.0, 1.0), "blank": (0.0, 0.0, 0.0), "reason": (0, 0, 1), "reasons": ("", "canary 41 ms >= 12 ms"),
        "felt": (felt("read", Condition.WORKING, 2.2), felt("read", Condition.BLANK, 2.0, 40)),
        "stops": Stops(count=1, seconds=1.0, longest=(Stop(at=later(1), seconds=1.0, reason="canary 41 ms >= 12 ms"),)),
    }  # fmt: skip
    return Timeline(**(known | fields))


def reported(**fields: Any) -> Reported:
    known: dict[str, Any] = {"as_of": later(100), "facts": facts(), "timeline": drawn()}
    return Reported(**(known | fields))


class Parsed(HTMLParser):
    """Elements in their order; raises where one is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    @override
    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in {"script", "style"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def data_of(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found.group(1))


# -- whole in itself ------------------------------------------------------------------------------


def test_nothing_is_fetched():
    text = page(reported())
    for tag, attributes in Parsed(text).elements:
        assert tag not in {"link", "iframe", "img", "object", "embed", "base"}
        assert "src" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes), tag
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)#]*)", text)) <= {""}


def test_the_page_forbids_itself_the_network_and_every_script_but_its_own():
    text = page(reported())
    (policy,) = (a["content"] for tag, a in Parsed(text).elements if a.get("http-equiv") == "Content-Security-Policy")
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert policy
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}';" in policy


def test_the_only_link_is_one_that_somebody_follows():
    found = Parsed(page(reported(link="http://127.0.0.1:8233/x?a=1&b=2")))
    assert [a["href"] for tag, a in found.elements if tag == "a"] == ["http://127.0.0.1:8233/x?a=1&b=2"]
    assert [a for tag, a in Parsed(page(reported(link="javascript:alert(1)"))).elements if tag == "a"] == []


# -- never a vessel ---------------------------------------------------------------------------------


def test_whatever_people_wrote_is_text():
    wild = facts(
        job=EVIL, kind=EVIL, namespace=EVIL, cluster=EVIL, guarantee=EVIL, message=EVIL, who=EVIL, why=EVIL,
        waited_s={EVIL: 1.0},
    )  # fmt: skip
    found = reported(
        facts=wild,
        reason=EVIL,
        happenings=(Happening(at=BEGAN, what=EVIL, detail=EVIL),),
        timeline=drawn(
            reasons=("", EVIL),
            zones=(EVIL, EVIL),
            stops=Stops(count=1, seconds=1, longest=(Stop(at=BEGAN, seconds=1, reason=EVIL),)),
        ),
    )
    text = page(found)
    assert "<img" not in text
    assert text.count("<script") == page(reported()).count("<script")
    assert Parsed(text).text.count(EVIL) >= 10
    assert data_of(text)["timeline"]["reasons"] == ["", EVIL]


# -- readable ---------------------------------------------------------------------------------------


def test_the_tables_say_it_all_without_the_script():
    found = reported(
        happenings=(Happening(at=BEGAN, what="started", detail="ann: OPS-7"),),
        timeline=drawn(own=Own(ratio=1.08, low=1.01, high=1.15)),
    )
    text = Parsed(page(found)).text
    for words in (
        "orders-1", "completed", "shop.orders on main", "2026-11-23 09:00:00 UTC", "6,000 passed of about 6,000",
        "100 docs/s", "exactly once: one transaction", "50s and 50s, summed over slices", "jobs working", "1.10x",
        "canary 41 ms >= 12 ms", "ann: OPS-7", "1.08x", "interval 1.01 to 1.15",
    ):  # fmt: skip
        assert words in text, words


def test_waits_are_bars_the_longest_first():
    text = page(reported())
    order = [text.index(f'class="text">{why}<') for why in ("working", "budget", "canary")]
    assert order == sorted(order)
    assert '<rect width="100.00"' in text
    assert '<rect width="40.00"' in text


def test_the_script_gets_what_it_draws_and_no_more():
    found = data_of(page(reported()))
    assert set(found) == {"timeline", "started_at", "ended_at", "steps", "happenings", "paused"}
    assert found["timeline"]["at_s"] == [30.0, 31.0, 32.0]
    assert found["timeline"]["series"][0]["mid"] == [1.0, 1.5, None]
    assert found["steps"] == [[40.0, 3_000], [80.0, 6_000]]
    assert "felt" not in found["timeline"]


@pytest.mark.parametrize("timeline", [None, Timeline(from_at=BEGAN, to_at=later(60))])
def test_without_samples_there_is_still_a_page_that_says_so(timeline: Timeline | None):
    text = page(reported(timeline=timeline, facts=facts(steps=())))
    found = Parsed(text)
    assert "There are no samples" in found.text
    assert "Nobody measured the foreground" in found.text
    assert [a for tag, a in found.elements if a.get("id") == "drawn"] == [
        {"id": "drawn", "aria-labelledby": "drawn-heading", "hidden": None}
    ]


def test_a_job_of_which_only_the_ledger_knows_has_a_page():
    bare = facts(
        status=Status.RUNNING, ended_at=None, active_s=None, waited_s={}, guarantee="", documents=0, partitions=0
    )
    text = Parsed(page(reported(facts=bare, timeline=None))).text
    assert "not yet" in text
    assert "The job has not ended" in text
    assert "not known while no worker can be asked" in text


def test_few_seconds_are_compared_only_with_that_said():
    few = drawn(felt=(felt("read", Condition.WORKING, 2.2), felt("read", Condition.BLANK, 2.0, 3)))
    assert "100 seconds were measured with jobs and 3 without, too few to compare." in " ".join(verdict(few))
    text = page(reported(timeline=few))
    assert "from 3 seconds only" in text


def test_the_verdict_compares_with_blank_windows_before_it_compares_with_other_hours():
    both = drawn(
        felt=tuple(
            felt("write", state, p90)
            for state, p90 in ((Condition.WORKING, 3.0), (Condition.BLANK, 2.0), (Condition.ALONE, 1.0))
        )
    )
    said = " ".join(verdict(both))
    assert "blank windows: writes 1.50x (3.00 against 2.00 ms)" in said
    assert "The gate was shut 1 time, for 1.0s in all." in said


# -- pauses -------------------------------------------------------------------------------------------


def happened(*words: str) -> list[Happening]:
    return [Happening(at=later(place), what=what) for place, what in enumerate(words)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), []),
        (("started", "completed"), []),
        (("told to pause", "told to resume"), [(0, 1)]),
        (("told to pause", "told to pause", "throttled", "told to resume", "told to resume"), [(0, 3)]),
        (("told to pause", "cancelled"), [(0, 1)]),
        (("paused itself",), [(0, None)]),
    ],
)
def test_a_pause_lasts_until_it_is_ended(words: tuple[str, ...], expected: list[tuple[int, int | None]]):
    found = pauses(happened(*words))
    assert found == [(later(begin), None if end is None else later(end)) for begin, end in expected]
