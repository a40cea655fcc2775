"""
YAML or JSON text → JSON values, without surprises: whatever the bytes, values or one sentence with a line number.

YAML reads more than people write: ``on`` as true, ``010`` as eight, an alias as a million values.
What could silently become another request is refused, with both writings it might have meant.
"""

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lull.domain.errors import OperatorError
from lull.starter.errors import printable

BYTES_MAX = 1 << 20
"""A spec of more than a megabyte lists documents, which is what a filter is for."""
VALUES_MAX = 100_000
"""Ten lines of YAML aliases can write billions of values."""
DEPTH_MAX = 100
"""MongoDB's own limit for nested documents."""
SHOWN_CHARACTERS_MAX = 60

_TAG = "tag:yaml.org,2002:"
_AMBIGUOUS = re.compile(r"(?i:yes|no|on|off)")
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_INT64 = range(-(2**63), 2**63)


def decode(content: bytes, name: str) -> str:
    """Return *content* as text. Raises OperatorError if it is too long or no UTF-8; *name* is where it came from."""
    if len(content) > BYTES_MAX:
        raise OperatorError(
            f"{name} is longer than {BYTES_MAX >> 20} MB, which no spec needs; mark documents by a field and filter on it"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OperatorError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def parse(text: str, name: str) -> Any:
    """Return *text* as JSON values. Raises OperatorError with the place in *name* and the remedy."""
    try:
        if text.lstrip()[:1] in {"{", "["}:
            return _parse_json(text, name)
    except (json.JSONDecodeError, RecursionError):
        # YAML may be meant: its braces need no quotes inside.
        pass
    return parse_yaml(text, name)


def parse_yaml(text: str, name: str) -> Any:
    """Return *text* as JSON values, read as YAML. Raises OperatorError."""
    try:
        # Not libyaml: a megabyte of brackets would overrun its stack instead of Python's.
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        return _Tree(name).value(node) if node is not None else None
    except yaml.YAMLError as error:
        raise OperatorError(_not_yaml(error, name)) from None
    except RecursionError:
        raise OperatorError(
            f"{name} is nested deeper than {DEPTH_MAX} levels, MongoDB's own limit; flatten it"
        ) from None


def shown(value: object) -> str:
    """Return *value* as an error shows it: on one line, and not all of it."""
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        return "a number beyond 64 bits"
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError, TypeError):
        return f"a {type(value).__name__}"
    text = printable(text)
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…"


def _parse_json(text: str, name: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_twice((key for key, _ in items), name)
        return dict(items)

    def constant(word: str) -> NoReturn:
        raise OperatorError(f'{name}: {word} is no JSON number; write {{"$numberDouble": "{word}"}}')

    def integer(digits: str) -> int:
        if len(digits) > 20 or int(digits) not in _INT64:
            raise OperatorError(f'{name}: {digits[:20]}… is beyond 64 bits; write {{"$numberDecimal": "..."}}')
        return int(digits)

    return json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_int=integer)


def _refuse_twice(keys: Iterable[str], place: str) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise OperatorError(f"{place}: the key {shown(key)} stands there twice, and only one can hold; remove one")
        seen.add(key)


def _not_yaml(error: yaml.YAMLError, name: str) -> str:
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if isinstance(error, yaml.reader.ReaderError):
        return f"{name} holds a control character (position {error.position}), which text has not; is it a binary file?"
    place = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name
    if "another document" in str(problem) or "but found another document" in str(error):
        return f"{place}: a second document begins here (---), and a spec is one; split the file"
    return f"{place}: this is neither YAML nor JSON: {problem or error}; correct that place"


class _Tree:
    """Makes values of YAML's nodes; counts them, because an alias repeats everything below it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def value(self, node: Node, depth: int = 0) -> Any:
        self._count += 1
        if self._count > VALUES_MAX:
            self._refuse(node, f"there are more than {VALUES_MAX:,} values, aliases included; write fewer")
        if depth > DEPTH_MAX:
            self._refuse(node, f"nested deeper than {DEPTH_MAX} levels, MongoDB's own limit; flatten it")
        if isinstance(node, MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, SequenceNode):
            self._require(node, {"seq"})
            return [self.value(inner, depth + 1) for inner in node.value]
        assert isinstance(node, ScalarNode)
        return self._scalar(node)

    def _mapping(self, node: MappingNode, depth: int) -> dict[str, Any]:
        self._require(node, {"map"})
        keys = [self._key(key) for key, _ in node.value]
        _refuse_twice(keys, self._place(node))
        return {key: self.value(inner, depth + 1) for key, (_, inner) in zip(keys, node.value, strict=True)}

    def _key(self, node: Node) -> str:
        """Return a key as it is written: names are text, whatever YAML makes of ``on`` or ``1``."""
        if not isinstance(node, ScalarNode):
            self._refuse(node, "a key is a list or a mapping here; a key is text")
        if node.tag == f"{_TAG}merge":
            self._refuse(node, "<< is not read here; write the fields out, or use an alias for a whole value")
        return str(node.value)

    def _scalar(self, node: ScalarNode) -> Any:
        kind = node.tag.removeprefix(_TAG)
        text = str(node.value)
        if node.style is not None or kind in {"str", "value"}:
            return self._plain_text(node, text, kind)
        if _AMBIGUOUS.fullmatch(text):
            self._refuse(node, f'{text} can be text or a truth value; write "{text}" in quotes, or true or false')
        if _SEXAGESIMAL.fullmatch(text):
            return text  # 1:30 is ninety to YAML 1.1 and text to everybody else.
        if kind == "int":
            return self._int(node, text)
        if kind in _CONSTRUCT:
            try:
                return _CONSTRUCT[kind](text)
            except (ValueError, OverflowError, AttributeError):
                self._refuse(node, f"{shown(text)} is no {kind}; correct it, or put it in quotes")
        return self._refuse(node, f"{shown(text)} is tagged {node.tag}, which a spec does not know; remove the tag")

    def _plain_text(self, node: ScalarNode, text: str, kind: str) -> Any:
        if kind not in {"str", "value", "bool", "int", "float", "null", "timestamp"}:
            self._refuse(node, f"{shown(text)} is tagged {node.tag}, which a spec does not know; remove the tag")
        if node.style is None and _JSON_NUMBER.fullmatch(text):
            return float(text)  # 1e3 is a number in JSON and text in YAML 1.1.
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            self._refuse(node, f"{shown(text)} holds half a surrogate pair, which is no character; write the whole one")
        return text

    def _int(self, node: ScalarNode, text: str) -> int:
        if _OCTAL.fullmatch(text):
            self._refuse(node, f"{text} is an octal number to YAML; write it without the leading zero, or in quotes")
        try:
            number = int(text.replace("_", ""), 0)
        except ValueError:
            if not text.lstrip("-+").isdigit():
                self._refuse(node, f"{shown(text)} is no whole number; correct it, or put it in quotes")
            number = 2**64  # Python refuses to read thousands of digits.
        if number not in _INT64:
            self._refuse(node, f'{text[:20]} is beyond 64 bits; write {{"$numberDecimal": "..."}}')
        return number

    def _require(self, node: Node, tags: set[str]) -> None:
        if node.tag.removeprefix(_TAG) not in tags:
            self._refuse(node, f"the tag {node.tag} is not known to a spec; remove it")

    def _place(self, node: Node) -> str:
        return f"{self._name}, line {node.start_mark.line + 1}"

    def _refuse(self, node: Node, problem: str) -> NoReturn:
        raise OperatorError(f"{self._place(node)}: {problem}")


def _extended_date(text: str) -> dict[str, str]:
    """Return a YAML date as extended JSON writes it, in UTC, which it is in unless it says otherwise."""
    moment = yaml.SafeLoader("").construct_yaml_timestamp(ScalarNode(f"{_TAG}timestamp", text))
    if not isinstance(moment, dt.datetime):
        return {"$date": f"{moment.isoformat()}T00:00:00Z"}
    in_utc = moment.astimezone(dt.UTC) if moment.tzinfo else moment
    return {"$date": in_utc.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"}


def _float(text: str) -> float:
    return float(re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", text.replace("_", "").lower()))


_CONSTRUCT: dict[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "float": _float,
    "timestamp": _extended_date,
}
