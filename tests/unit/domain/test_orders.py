"""Orders typed by hand: read with patience, refused with a sentence, never a surprise."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain import orders
from lull.domain.errors import OperatorError
from lull.domain.orders import ExtendDeadline, Pause, Resume, Throttle

ACCEPTED: list[tuple[Any, list[bytes | None], Any]] = [
    (Pause, [], Pause()),
    (Pause, [b"null"], Pause()),
    (Pause, [b""], Pause()),
    (Pause, [b'"index build"'], Pause(reason="index build")),
    (Pause, [b'{"reason": "index build", "who": "ann"}'], Pause(reason="index build", who="ann")),
    (Pause, [b'"two\\nlines"'], Pause(reason="two lines")),
    (Resume, [], Resume()),
    (Resume, [b'{"who": "ann"}'], Resume(who="ann")),
    (Throttle, [b"500"], Throttle(max_docs_per_second=500)),
    (Throttle, [b"0.5"], Throttle(max_docs_per_second=0.5)),
    (Throttle, [b'"500"'], Throttle(max_docs_per_second=500)),
    (Throttle, [b"null"], Throttle(max_docs_per_second=None)),
    (Throttle, [b'"off"'], Throttle(max_docs_per_second=None)),
    (Throttle, [b'{"max_docs_per_second": "off"}'], Throttle(max_docs_per_second=None)),
    (
        Throttle,
        [b'{"max_docs_per_second": 500, "for": "2h", "why": "sale"}'],
        Throttle.model_validate({"max_docs_per_second": 500, "for": timedelta(hours=2), "why": "sale"}),
    ),
    (ExtendDeadline, [b'"2h"'], ExtendDeadline(by=timedelta(hours=2))),
    (ExtendDeadline, [b'{"by": "2h"}'], ExtendDeadline(by=timedelta(hours=2))),
    (ExtendDeadline, [b'{"for": "2h", "who": "ann"}'], ExtendDeadline(by=timedelta(hours=2), who="ann")),
]

REFUSED: list[tuple[Any, list[bytes | None], str]] = [
    (Pause, [b"index build"], 'saw "index build": it is not JSON; text needs quotes'),
    (Pause, [b"3"], "a number means nothing here"),
    (Pause, [b'{"reasn": "x"}'], "did you mean reason?"),
    (Pause, [b'"a"', b'"b"'], "saw 2 payloads: one is enough"),
    (Pause, [b"\xff\xfe"], "it is not JSON"),
    (Pause, [b"[" * 100_000], "it is not JSON"),
    (Throttle, [], "saw nothing: say the limit"),
    (Throttle, [b"0"], "greater than 0"),
    (Throttle, [b"-1"], "greater than 0"),
    (Throttle, [b"NaN"], "finite"),
    (Throttle, [b"1e999"], "finite"),
    (Throttle, [b"true"], "not true"),
    (Throttle, [b'"fast"'], "max_docs_per_second"),
    (Throttle, [b'{"for": "2h"}'], "max_docs_per_second is missing"),
    (Throttle, [b'{"max_docs_per_second": null, "for": "2h"}'], "lifting a limit has no end"),
    (Throttle, [b'{"max_docs_per_second": 5, "four": "2h"}'], "did you mean for?"),
    (ExtendDeadline, [], "null means nothing here"),
    (ExtendDeadline, [b'"2 hours"'], "write it like 90s, 30m, 2h30m or 3d"),
    (ExtendDeadline, [b'"-1h"'], "write it like"),
]


@pytest.mark.parametrize(("model", "payloads", "expected"), ACCEPTED)
def test_an_order_is_read_as_it_is_written(model: Any, payloads: list[bytes | None], expected: object):
    assert orders.read(model, payloads) == expected


@pytest.mark.parametrize(("model", "payloads", "words"), REFUSED)
def test_a_bad_order_is_refused_with_what_was_seen_and_what_is_accepted(
    model: Any, payloads: list[bytes | None], words: str
):
    with pytest.raises(OperatorError) as caught:
        orders.read(model, payloads)

    sentence = str(caught.value)
    assert words in sentence
    assert "changed nothing" in sentence
    assert orders.FORMS[model].accepts in sentence
    assert len(sentence) < 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["off", "2h", "500"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["reason", "who", "why", "for", "by", "max_docs_per_second"]) | st.text(), inner, max_size=4
        )
    ),
    max_leaves=8,
)
PAYLOADS = st.lists(st.none() | st.binary() | JSON.map(lambda value: json.dumps(value).encode()), max_size=2)


@given(st.sampled_from(list(orders.FORMS)), PAYLOADS)
def test_any_bytes_are_an_order_or_a_sentence(model: Any, payloads: list[bytes | None]):
    """A handler that raises anything else would block its workflow for good."""
    said = _said(model, payloads)

    assert "\n" not in said
    assert len(said.encode()) < 5_000


def _said(model: Any, payloads: list[bytes | None]) -> str:
    try:
        return orders.read(model, payloads).model_dump_json()
    except OperatorError as error:
        return str(error)


@given(st.text())
def test_an_unknown_signal_has_a_sentence(name: str):
    sentence = orders.unknown(name)

    assert "changed nothing" in sentence
    assert len(sentence.encode()) < 500


def test_an_order_in_its_full_writing_reads_back_the_same():
    order = Throttle.model_validate({"max_docs_per_second": 500, "for": "2h", "who": "ann"})

    assert orders.read(Throttle, [order.model_dump_json(by_alias=True).encode()]) == order
