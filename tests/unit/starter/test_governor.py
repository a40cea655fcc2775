"""A governor at the terminal: one screen, orders that are right before they are sent, and sentences for the rest."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType
from typer.main import get_command

from lull.domain import orders
from lull.domain.errors import OperatorError
from lull.domain.governor.budget import Mode
from lull.domain.governor.law import Zone
from lull.domain.governor.objective import Objective
from lull.domain.governor.status import GovernorState, GovernorStatus, JobRow, Moment, Note, Orders, SignalRow
from lull.starter import cli, governor_client, governor_render, guard
from lull.starter.governor_cli import _ACCEPTED
from lull.starter.governor_client import written
from lull.starter.screen import Board
from lull.starter.views import GovernorLimits, GovernorSeen

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOTE = Note(who="ann@laptop", why="sale", at=NOW, until=NOW + timedelta(minutes=30))
GRANT = "grant clusterMonitor to the worker's user"
COMMANDS = ["status", "observe", "enforce", "limits", "shut", "open"]


@pytest.fixture
def seen() -> Callable[..., GovernorSeen]:
    """A governor in the middle of a busy day, half a second ago; *fields* are its status's."""

    def make(*, of: dict[str, Any] | None = None, **fields: Any) -> GovernorSeen:
        base: dict[str, Any] = {
            "cluster": "main",
            "mode": Mode.ENFORCE,
            "zone": Zone.STOP,
            "is_open": False,
            "reason": "canary 41 ms >= 12 ms",
            "duty": 0.43,
            "hold_ms": 9.8,
            "signals": (
                SignalRow(name="canary", unit="ms", effect="gate", observed=41.0, limit=12.0, age_s=0.1, note="reads"),
                SignalRow(name="queue", unit="operations", effect="cut", note=GRANT),
                SignalRow(name="oplog-window", unit="h", effect="hard", observed=30.0, limit=1.0, op="<=", age_s=1.0),
            ),
            "jobs": (JobRow(job="orders-1", slices=4, weight=3, critical=True, share=0.3, used=0.21),),
            "decisions": (Moment(at=NOW, zone=Zone.STOP, reason="canary 41 ms >= 12 ms"),),
            "objective": Objective(read_p99=12, inflation=1.1),
            "inflation": 1.1,
            "foreground_ops": 1_234.4,
            "own_ops": 321.0,
            "own_ratio": 1.04,
            "own_low": 0.99,
            "own_high": 1.09,
            "own_ms": 0.3,
            "base_ms": {"read-p50": 0.41, "read-p90": 0.92},
            "workers": 2,
            "as_of": NOW,
        }
        known = GovernorStatus.model_validate(base | fields)
        return GovernorSeen.model_validate(
            {"cluster": "main", "status": known, "as_of": NOW, "age_s": 0.5, "link": "http://ui/governor"} | (of or {})
        )

    return make


def text(renderable: RenderableType, width: int = 160) -> str:
    """What a reader without colours sees."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def row_of(shown: str, name: str) -> str:
    """The row that begins with *name*, its cells one space apart."""
    (found,) = [line for line in shown.splitlines() if line.split()[:1] == [name]]
    return " ".join(found.split())


# -- the screen ------------------------------------------------------------------------------------


def test_the_first_line_says_zone_gate_mode_and_reason(seen: Any):
    assert text(governor_render.status(seen())).splitlines()[0].rstrip() == (
        "main  stop  gate shut  enforce  canary 41 ms >= 12 ms"
    )


def test_a_governor_that_only_observes_says_what_that_means(seen: Any):
    assert "observe (jobs do not obey)" in text(governor_render.status(seen(mode=Mode.OBSERVE))).splitlines()[0]


def test_a_signal_shows_what_was_seen_its_limit_its_effect_and_its_age(seen: Any):
    shown = text(governor_render.status(seen()))
    assert row_of(shown, "canary") == "canary 41 ms >= 12 ms gate 0.1s reads"
    assert row_of(shown, "oplog-window") == "oplog-window 30 h <= 1 h hard 1.0s"


def test_a_missing_grant_is_seen_where_the_signal_would_be(seen: Any):
    """A signal that cannot be seen is not one that is well."""
    assert row_of(text(governor_render.status(seen())), "queue") == f"queue - cut never {GRANT}"


def test_a_job_shows_its_share_and_what_it_used(seen: Any):
    assert row_of(text(governor_render.status(seen())), "orders-1") == "orders-1 4 3 critical 0.30 0.21"
    assert "no job runs" in text(governor_render.status(seen(jobs=())))


def test_our_share_in_the_tail_comes_with_its_interval_or_is_not_known(seen: Any):
    shown = text(governor_render.status(seen()))
    assert "1.04x [0.99 to 1.09] of what it is without us, at least 0.3 ms; 1.1x at most is aimed at" in shown
    unknown = text(governor_render.status(seen(own_ratio=None, own_low=None, own_high=None, own_ms=None)))
    assert "our share   in the foreground's tail is not known yet" in unknown


def test_what_was_not_measured_is_not_zero(seen: Any):
    shown = text(governor_render.status(seen(foreground_ops=None, base_ms={})))
    assert "foreground  not known yet" in shown
    assert "normal      not known yet" in shown


def test_budget_normal_limits_and_decisions_are_on_the_screen(seen: Any):
    shown = text(governor_render.status(seen()))
    assert "0.43 work-seconds per second, each page held for 9.8 ms at most" in shown
    assert "read-p50 0.41 ms, read-p90 0.92 ms" in shown
    assert "limits      read p99 12ms, inflation 1.1x" in shown
    assert shown.count("canary 41 ms >= 12 ms") == 2, "the first line and the decision"
    assert "0.5s ago" in shown


def test_orders_that_hold_say_who_why_and_until_when(seen: Any):
    held = Orders(
        epoch=3, mode=Mode.OBSERVE, mode_note=NOTE, limits=Objective(write_p99=30), limits_note=NOTE, shut=True
    )
    shown = text(governor_render.status(seen(of={"orders": held})))
    until = f"until {(NOW + timedelta(minutes=30)).astimezone():%Y-%m-%d %H:%M:%S}"
    assert f"{until}: sale" in shown
    assert "order       observe by ann@laptop at " in shown
    assert "order       limits write p99 30ms by ann@laptop at " in shown
    assert "order       shut" in shown


def test_an_order_that_was_lifted_holds_no_more(seen: Any):
    lifted = Orders(epoch=4, shut_note=NOTE)
    assert "sale" not in text(governor_render.status(seen(of={"orders": lifted})))


def test_remarks_warnings_and_starvation_are_marked(seen: Any):
    shown = text(
        governor_render.status(
            seen(is_starved=True, of={"warnings": ("limits changed nothing",), "remarks": ("34 s ago",)})
        )
    )
    assert "! jobs have waited for more than a minute" in shown
    assert "! limits changed nothing" in shown
    assert "! 34 s ago" in shown


def test_a_governor_that_has_seen_nothing_yet_is_starting():
    shown = text(governor_render.status(GovernorSeen(cluster="main")))
    assert shown.startswith("main  starting")
    assert governor_render.line(GovernorSeen(cluster="main")) == ["starting"]


@pytest.mark.parametrize(
    ("fields", "step"),
    [
        ({}, "next: lull governor shut main"),
        ({"of": {"orders": Orders(epoch=1, shut=True)}}, "next: lull governor open main"),
        ({"orders": Orders(shut=True)}, "next: lull governor open main"),
        ({"mode": Mode.OBSERVE}, "lull governor enforce main"),
        ({"mode": Mode.ENFORCE}, "lull governor observe main"),
    ],
)
def test_the_screen_ends_with_what_can_be_done_now(seen: Any, fields: dict[str, Any], step: str):
    assert step in text(governor_render.status(seen(**fields)))


def test_nothing_that_others_wrote_steers_the_terminal(seen: Any):
    note = Note(who="\x1b[2Jeve", why="[bold]x[/bold]\x07", at=NOW)
    shown = text(
        governor_render.status(seen(reason="\x1b]0;x", of={"orders": Orders(shut=True, shut_note=note), "warnings": ("\x9b",)}))
    )  # fmt: skip
    assert not {"\x1b", "\x07", "\x9b"} & {*shown}
    assert "[bold]x[/bold]" in shown


@pytest.mark.parametrize("zone", Zone)
def test_every_zone_can_be_shown(seen: Any, zone: Zone):
    assert f"main  {zone}  gate" in text(governor_render.status(seen(zone=zone)))


def test_a_log_gets_a_line_when_something_has_changed(seen: Any, capsys: pytest.CaptureFixture[str]):
    board = Board()
    for one in (seen(), seen(duty=0.44), seen(zone=Zone.GROW, is_open=True, reason="")):
        board.log(governor_render.news(one), governor_render.line(one))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2, "a budget that breathes is no news"
    assert said[0].endswith("stop  gate shut  enforce  canary 41 ms >= 12 ms  0.43 work-seconds per second over 1 job")
    assert "grow  gate open  enforce  0.43 work-seconds per second over 1 job" in said[1]


def test_limits_say_what_holds_and_what_of_it_was_ordered():
    found = GovernorLimits(
        cluster="main", objective=Objective(read_p99=12), inflation=1.1, ordered=Objective(read_p99=12), note=NOTE
    )
    shown = text(governor_render.limits(found))
    assert "holds    read p99 12ms" in shown
    assert "aims at  an inflation of 1.1x at most" in shown
    assert "ordered  read p99 12ms by ann@laptop at " in shown
    bare = text(governor_render.limits(GovernorLimits(cluster="main")))
    assert "holds    not known yet" in bare
    assert "ordered  nothing" in bare


# -- orders ------------------------------------------------------------------------------------------


def test_an_order_carries_who_and_is_what_the_governor_reads():
    payload = written(orders.SetLimits, {"read_p99": "12ms", "for": "30m", "why": "sale"}, "ann@laptop")
    assert payload == {"read_p99": "12ms", "for": "30m", "why": "sale", "who": "ann@laptop"}
    read = orders.read(orders.SetLimits, [json.dumps(payload).encode()])
    assert (read.read_p99, read.lasting, read.who) == (12.0, timedelta(minutes=30), "ann@laptop")


def test_what_no_governor_would_take_is_refused_before_it_is_sent():
    with pytest.raises(OperatorError, match='"until" is no field of it; fields are for'):
        written(orders.Shut, {"until": "noon"}, "ann")
    with pytest.raises(OperatorError, match="read_p99: is no latency; write it like 12ms"):
        written(orders.SetLimits, {"read_p99": "fast"}, "ann")


def test_what_no_transport_carries_is_taken_out_of_the_reason():
    assert written(orders.Shut, {"why": "a\udc80b\nc"}, "ann")["why"] == "a?b c"


def test_warnings_since_an_order_are_told_from_those_before_it():
    """Ten are kept: the oldest may have made room."""
    assert governor_client._since(("a", "b"), ("a", "b", "c")) == ("c",)
    assert governor_client._since(("a", "b"), ("b", "c")) == ("c",)
    assert governor_client._since(("a",), ("a",)) == ()
    assert governor_client._since((), ("a",)) == ("a",)
    assert governor_client._since(("a",), ("b", "c")) == ("b", "c")


# -- remarks -----------------------------------------------------------------------------------------


def test_a_status_that_is_late_says_how_late():
    assert governor_client._about_age(1.2) == []
    assert governor_client._about_age(34.4) == ["this is what it saw 34 s ago; nothing newer was heard"]
    assert governor_client._about_age(None) == ["the governor has seen nothing yet"]


def test_a_gate_that_was_shut_by_hand_is_told_from_one_that_is_being_opened(seen: Any):
    """The ledger's word counts only once the governor has read what the workflow ordered last."""
    by_hand = seen(orders=Orders(epoch=2, shut=True)).status
    ordered = GovernorState(cluster="main", orders=Orders(epoch=2), told_epoch=2)
    assert governor_client._about_orders("main", ordered, by_hand) == [
        "somebody shut the gate by hand in lull.governor; lull governor open main opens it"
    ]
    opening = GovernorState(cluster="main", orders=Orders(epoch=3), told_epoch=3)
    assert governor_client._about_orders("main", opening, by_hand) == []
    shut = GovernorState(cluster="main", orders=Orders(epoch=2, shut=True), told_epoch=2)
    assert governor_client._about_orders("main", shut, by_hand) == []


def test_an_order_on_its_way_is_said_to_be():
    waiting = GovernorState(cluster="main", orders=Orders(epoch=1, shut=True))
    assert governor_client._about_orders("main", waiting, None) == ["the newest order is not in the ledger yet"]


def test_the_newest_of_heartbeat_and_report_is_shown(seen: Any):
    """Between two activities the workflow's report is the newer one."""
    older, newer = seen().status, seen(as_of=NOW + timedelta(seconds=1)).status
    assert governor_client._newest(older, newer) is newer
    assert governor_client._newest(newer, older) is newer
    assert governor_client._newest(None, older) is older
    assert governor_client._newest(None, None) is None


def test_without_a_worker_only_orders_that_still_hold_are_known(seen: Any):
    """Those whose time is up are gone, although no workflow was there to say so."""
    over = Orders(epoch=7, shut=True, shut_note=Note(at=NOW, until=NOW + timedelta(seconds=1)), mode=Mode.OBSERVE)
    kept = governor_client._kept("main", seen(orders=over).status)
    assert (kept.orders.shut, kept.orders.mode, kept.told_epoch) == (False, Mode.OBSERVE, 7)


# -- what is typed -----------------------------------------------------------------------------------


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command where no Temporal is; returns exit code, stdout and stderr."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.delenv("LULL_CONFIG", raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = guard.run(cli.build_app, ["governor", *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["limits", "main", "--read-p99", "12"], "--read-p99 '12' is no limit and changed nothing; give a latency"),
        (["limits", "main", "--write-p99", "2m"], "--write-p99 '2m' is no limit"),
        (["limits", "main", "--inflation", "0.9"], "--inflation '0.9' is no limit"),
        (["limits", "main", "--inflation", "nan"], "give a number above 1 and at most 10: 1.1 allows ten per cent"),
        (["limits", "main", "--lift", "--inflation", "2"], "leave out the limits and --for"),
        (["limits", "main", "--lift", "--for", "3m"], "leave out the limits and --for"),
        (["limits", "main", "--for", "3m", "--wait"], "there is no use for --for and --wait; give --read-p99"),
        (["shut", "main", "--for", "soon"], "--for: cannot read 'soon' as a duration; write it like 90s"),
        (["observe", "--for", "400d"], "at most 366d"),
        (["open", "main", "--for", "3m"], "no such option: --for; see lull governor open --help"),
        (["status", "--watch", "--json"], "there is no document for --json; leave one of them out"),
        (["stauts"], "no such command 'stauts'. Did you mean 'status'"),
        ([], "no command was given; see lull governor --help"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy_before_anything_is_asked(typed: Any, words: list[str], said: str):
    code, out, err = typed(*words)
    assert code == 2
    assert said in (json.loads(err)["error"] if "--json" in words else err)
    assert not out or not words


@pytest.mark.parametrize("command", COMMANDS)
def test_a_temporal_that_is_away_is_a_sentence_and_four(typed: Any, command: str):
    code, out, err = typed(command, "main", "--json")
    assert (code, out) == (4, "")
    assert "cannot reach Temporal at 127.0.0.1:1" in json.loads(err)["error"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_has_help_with_an_example(typed: Any, command: str):
    code, out, _ = typed(*command.split(), "--help")
    assert code == 0
    assert f"Example: lull governor {command}" in " ".join(out.split())


def test_the_limits_that_a_sentence_promises_are_taken():
    """The words stand in one room, the bounds in another."""
    assert {*_ACCEPTED} == {*Objective.model_fields}
    for fields in ({"read_p99": "60s"}, {"write_p99": "0.001ms"}, {"inflation": "10"}, {"inflation": "1.001"}):
        Objective.model_validate(fields)
    for field, text_ in (("read_p99", "60.1s"), ("write_p99", "0ms"), ("inflation", "1"), ("inflation", "10.1")):
        with pytest.raises(ValueError, match=field):
            Objective.model_validate({field: text_})


def test_every_order_a_governor_knows_has_its_command():
    group = get_command(cli.build_app()).commands["governor"]  # type: ignore[attr-defined]
    assert {*group.commands} == {"status", *orders.GOVERNOR_ORDER_NAMES}
