"""What a user's code meets: the decorator, the registry, and what a function may return."""

import subprocess
import sys
from typing import Any

import pytest

from lull.activities.transforms import SKIP, UNCHANGED, UNSET, BadResult, Registry, Replace, Transform, transform
from lull.domain.errors import OperatorError


def test_a_decorated_function_is_found_by_its_name_and_stays_callable():
    registry = Registry()

    @transform("nyc.speed", registry=registry)
    def speed(document: dict[str, Any]) -> dict[str, Any]:
        return {"speed": document["distance"] / document["air_time"]}

    assert registry.get("nyc.speed") == Transform("nyc.speed", speed, batch=False)
    assert speed({"distance": 10, "air_time": 2}) == {"speed": 5}


def test_a_batch_function_sees_all_documents_at_once():
    registry = Registry()
    seen = []

    @transform("nyc.batch", batch=True, registry=registry)
    def batch(documents: list[dict[str, Any]]) -> list[Any]:
        seen.append(len(documents))
        return [UNCHANGED, SKIP, {"a.b": UNSET}]

    results = registry.get("nyc.batch").results([{"_id": 1}, {"_id": 2}, {"_id": 3}])

    assert seen == [3]
    assert results == [UNCHANGED, SKIP, {"a.b": UNSET}]


def test_a_name_registered_twice_is_refused_and_both_places_are_named():
    registry = Registry()

    @transform("x", registry=registry)
    def first(_document: dict[str, Any]) -> Any:
        return SKIP

    with pytest.raises(OperatorError, match=r"'x' is registered twice: by .*first and by .*second"):

        @transform("x", registry=registry)
        def second(_document: dict[str, Any]) -> Any:
            return SKIP


def test_an_unknown_name_is_answered_with_the_near_one_the_known_ones_and_load():
    registry = Registry()
    for name in ("nyc.speed", "nyc.zone"):
        transform(name, registry=registry)(lambda _document: SKIP)

    with pytest.raises(
        OperatorError, match=r"did you mean 'nyc.speed'\? \(known: nyc.speed, nyc.zone\).*--load MODULE"
    ):
        registry.get("nyc.sped")


def test_an_empty_registry_says_none():
    with pytest.raises(OperatorError, match="known: none"):
        Registry().get("nyc.speed")


@pytest.mark.parametrize("name", ["", "x" * 121, 7, None])
def test_a_bad_name_is_refused(name: Any):
    with pytest.raises(OperatorError, match="1 to 120 characters"):
        transform(name)


def test_a_decorator_without_its_name_is_refused_with_how_to_write_it():
    with pytest.raises(OperatorError, match=r'write @transform\("team.purpose"\)'):

        @transform
        def speed(_document: Any):
            return SKIP


def test_an_async_function_is_refused():
    with pytest.raises(OperatorError, match="async"):

        @transform("x", registry=Registry())
        async def speed(_document: Any):
            return SKIP


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (None, "not NoneType"),
        ([], "not list of 0"),
        ("secret@example.org", "not str"),
        ({"_id": 7}, "never changes"),
    ],
)
def test_what_is_no_result_is_refused_without_quoting_it(result: Any, sentence: str):
    with pytest.raises(BadResult, match=sentence) as caught:
        Transform("x", lambda _document: result).results([{"_id": 1}])
    assert "secret@example.org" not in str(caught.value)


@pytest.mark.parametrize("returned", [[UNCHANGED], None, (UNCHANGED, UNCHANGED)])
def test_a_batch_of_another_length_or_type_is_refused(returned: Any):
    with pytest.raises(BadResult, match="given 2 documents it must return a list"):
        Transform("x", lambda _documents: returned, batch=True).results([{}, {}])


def test_a_replacement_is_a_result_and_what_the_function_raises_comes_through():
    assert Transform("x", lambda _d: Replace({"a": 1})).results([{}]) == [Replace({"a": 1})]
    with pytest.raises(ZeroDivisionError):
        Transform("x", lambda _d: 1 / 0).results([{}])


def test_importing_the_registry_imports_neither_driver_nor_temporal():
    """Users' modules are imported by their own tests, too: the registry must not drag a driver in."""
    code = "import sys, lull.activities.transforms; print(sorted({'pymongo', 'bson', 'temporalio', 'pydantic'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
