"""
An independent witness of the ledger.

It replays ``lull.partitions`` from its change stream (every change, in the order in which the server
made it, majority-committed ones only) and holds each against the rules that may not be broken,
whatever is killed when:

- a fence only grows, and a new fence comes with the session of its holder;
- a page moves the page number by one, its counts never fall, and ``seen`` is the sum of its parts;
- a page is committed by the very session that the newest fence came with: the server itself writes
  into the change whose transaction it was, so that a page under an old fence could not hide;
- the position never goes back, and moves with a page only;
- what is done stays as it is.

It shares nothing with lull but the names of fields, and it outlasts elections and a killed server.
"""

import copy
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pymongo import MongoClient
from pymongo.change_stream import ChangeStream
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

Document = dict[str, Any]

PARTITIONS = {"db": "lull", "coll": "partitions"}
MARKS = {"db": "witness", "coll": "marks"}
"""Its own collection: a mark that has come back says that everything before it has been seen."""
AGAIN_SECONDS = 0.1
ANSWER_MS = 3_000
CATCH_UP_SECONDS_MAX = 60.0
_COUNTS = ("scanned", "seen", "changed", "unchanged", "skipped", "quarantined", "bytes", "pages")
_PARTS = ("changed", "unchanged", "skipped", "quarantined")


@dataclass(frozen=True, slots=True)
class Step:
    """One partition has come further: a page was committed, or nothing was left to do."""

    at: float
    """On the server's clock, in seconds since the epoch."""
    partition: str
    job: str
    fence: int
    is_page: bool


@dataclass(frozen=True, slots=True)
class Hold:
    """A partition in somebody's hands."""

    partition: str
    number: int
    job: str
    fence: int
    session: bytes
    taken_at: float


@dataclass(frozen=True, slots=True)
class Taking:
    """A partition was taken: its fence raised, from this position on."""

    at: float
    fence: int
    position: Any
    upto: Any


@dataclass(slots=True)
class Partition:
    """What the witness knows of one."""

    document: Document
    steps: list[Step] = field(default_factory=list)
    takings: list[Taking] = field(default_factory=list)


class Witness:
    """Watches from `start` to `stop`; `violations` says what it has seen broken."""

    def __init__(self, uri: str) -> None:
        self._client = MongoClient[Document](
            uri, appname="witness", tz_aware=True, serverSelectionTimeoutMS=ANSWER_MS, connectTimeoutMS=ANSWER_MS
        )
        self._changed = threading.Condition()
        self._partitions: dict[str, Partition] = {}
        self._marks: set[str] = set()
        self._is_open = threading.Event()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="witness", daemon=True)
        self.violations: list[str] = []
        self.pages = 0
        self.trouble = ""
        """What it last lost the server to."""
        self.reopened = 0
        """How often it lost the server and went on where it had stopped."""

    def start(self) -> None:
        """Nothing that happens from now on is missed. No job may run at this moment."""
        for found in self._client.lull.partitions.find():
            self._partitions[found["_id"]] = Partition(found)
        self._thread.start()
        if not self._is_open.wait(CATCH_UP_SECONDS_MAX):
            raise RuntimeError("the witness could not open its change stream")

    def stop(self) -> None:
        """It watches no more. Idempotent."""
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._client.close()

    # --- what others ask ------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Everything that was committed before this call has been seen."""
        mark = uuid4().hex
        self._write_mark(mark)
        with self._changed:
            if not self._changed.wait_for(lambda: mark in self._marks, CATCH_UP_SECONDS_MAX):
                raise RuntimeError(f"the witness is more than {CATCH_UP_SECONDS_MAX:g} s behind")

    def held_by(self, pid: int) -> list[Hold]:
        """Return what the process holds, as the ledger says."""
        sign = f":{pid} "
        with self._changed:
            return [
                _hold(known)
                for known in self._partitions.values()
                if known.document["status"] == "running" and sign in known.document["owner"]
            ]

    def hold_of(self, session: bytes) -> Hold | None:
        """Return what is held with this session."""
        with self._changed:
            for known in self._partitions.values():
                if known.document["session"] is not None and bytes(known.document["session"]) == session:
                    return _hold(known)
        return None

    def document(self, partition: str) -> Document:
        """Return the partition as it was last seen."""
        with self._changed:
            return copy.deepcopy(self._partitions[partition].document)

    def taking(self, partition: str, fence: int) -> Taking | None:
        """Return how this fence was raised, or the first one above it."""
        with self._changed:
            return next((one for one in self._partitions[partition].takings if one.fence >= fence), None)

    def steps_since(self, at: float) -> list[Step]:
        """Return all steps later than this moment."""
        with self._changed:
            return [step for known in self._partitions.values() for step in known.steps if step.at > at]

    def wait_step(self, at: float, timeout_s: float) -> Step | None:
        """Return the first step of any partition later than this moment, when it has come; None if it never did."""
        return self._wait_for(lambda: min(self.steps_since(at), key=lambda step: step.at, default=None), timeout_s)

    def wait_successor(self, hold: Hold, timeout_s: float) -> Step | None:
        """
        Return the first step under a fence above the hold's, when it has come; None if it never did.

        A partition that its holder had brought to its end has no successor: its last step is returned.
        """

        def found() -> Step | None:
            known = self._partitions[hold.partition]
            later = next((step for step in known.steps if step.fence > hold.fence), None)
            return later or (known.steps[-1] if known.document["status"] == "done" else None)

        return self._wait_for(found, timeout_s)

    def silence_since(self, at: float) -> float:
        """Return the longest time without a step of any partition between this moment and the newest step."""
        return max(_gaps([at, *sorted(step.at for step in self.steps_since(at))]), default=0.0)

    def silences(self) -> dict[str, float]:
        """Return for each job the longest time between two of its steps, in seconds."""
        moments: dict[str, list[float]] = defaultdict(list)
        with self._changed:
            for known in self._partitions.values():
                for step in known.steps:
                    moments[step.job].append(step.at)
        return {job: max(_gaps(sorted(times)), default=0.0) for job, times in moments.items()}

    def _wait_for(self, find: Callable[[], Step | None], timeout_s: float) -> Step | None:
        with self._changed:
            return self._changed.wait_for(find, timeout_s) or None

    def _write_mark(self, mark: str) -> None:
        marks = self._client.witness.get_collection("marks", write_concern=WriteConcern("majority", j=True))
        deadline = time.monotonic() + CATCH_UP_SECONDS_MAX
        while True:
            try:
                marks.replace_one({"_id": mark}, {"_id": mark}, upsert=True)
            except PyMongoError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(AGAIN_SECONDS)
            else:
                return

    # --- watching -------------------------------------------------------------------------------

    def _watch(self) -> None:
        token: Mapping[str, Any] | None = None
        while not self._is_over.is_set():
            try:
                only = [{"$match": {"ns": {"$in": [PARTITIONS, MARKS]}}}]
                with self._client.watch(only, resume_after=token, max_await_time_ms=100) as stream:
                    self._is_open.set()
                    token = stream.resume_token or token
                    while not self._is_over.is_set():
                        token = self._follow(stream) or token
            except PyMongoError as error:
                self.trouble = str(error)
            if not self._is_over.wait(AGAIN_SECONDS):
                self.reopened += 1

    def _follow(self, stream: ChangeStream[Document]) -> Mapping[str, Any] | None:
        change = stream.try_next()
        if change is not None:
            with self._changed:
                self._see(change)
                self._changed.notify_all()
        return stream.resume_token

    def _see(self, change: Document) -> None:
        key = str(change.get("documentKey", {}).get("_id"))
        if change["ns"] == MARKS:
            self._marks.add(key)
        elif change["operationType"] == "insert":
            self._partitions[key] = Partition(change["fullDocument"])
            self._blame(key, broken_at_birth(change["fullDocument"]))
        elif change["operationType"] == "update":
            self._see_update(self._partitions[key], change)
        else:
            self._blame(key, [f"a {change['operationType']}, which lull never does"])

    def _see_update(self, known: Partition, change: Document) -> None:
        before, after = known.document, applied(known.document, change["updateDescription"])
        session = bytes(change["lsid"]["id"]) if "lsid" in change else None
        self._blame(before["_id"], broken(before, after, session))
        known.document = after
        at = change["wallTime"].timestamp()
        if after["fence"] != before["fence"]:
            known.takings.append(Taking(at, after["fence"], after["position"] or after["after"], after["upto"]))
        is_page = after["counts"]["pages"] != before["counts"]["pages"]
        self.pages += is_page
        if is_page or (after["status"] == "done" != before["status"]):
            known.steps.append(Step(at, before["_id"], before["job"], after["fence"], is_page))

    def _blame(self, partition: str, sentences: Sequence[str]) -> None:
        self.violations += [f"{partition}: {sentence}" for sentence in sentences]


def _hold(known: Partition) -> Hold:
    document = known.document
    return Hold(
        document["_id"],
        document["number"],
        document["job"],
        document["fence"],
        bytes(document["session"] or b""),
        known.takings[-1].at if known.takings else 0.0,
    )


def _gaps(moments: Sequence[float]) -> list[float]:
    return [late - early for early, late in itertools.pairwise(moments)]


# --- the rules ----------------------------------------------------------------------------------------


def applied(before: Document, description: Mapping[str, Any]) -> Document:
    """Return the document after an update, as the change stream describes it."""
    after = copy.deepcopy(before)
    for path, value in description["updatedFields"].items():
        *parents, last = path.split(".")
        target = after
        for name in parents:
            target = target[name]
        target[last] = value
    for path in description["removedFields"]:
        after.pop(path, None)
    return after


def broken_at_birth(document: Document) -> list[str]:
    """Return which rules a new partition breaks."""
    is_untouched = document["fence"] == 0 and document["position"] is None and not any(document["counts"].values())
    return [] if is_untouched else ["it was born with a past"]


def broken(before: Document, after: Document, session: bytes | None) -> list[str]:
    """Return which rules a change breaks; *session* is that of the transaction it was made in, if any."""
    old, new = before["counts"], after["counts"]
    pages = new["pages"] - old["pages"]
    has_moved = after["position"] != before["position"]
    rules = {
        "its fence fell": after["fence"] >= before["fence"],
        "its fence was raised by more than one": after["fence"] - before["fence"] <= 1,
        "its page number moved by more than one": pages in {0, 1},
        "its counts fell": all(new[name] >= old[name] for name in _COUNTS),
        "seen is not the sum of its parts": new["seen"] == sum(new[name] for name in _PARTS),
        "counts without a page": pages or new == old,
        "its position went back": not _is_before(after["position"], before["position"]),
        "it was taken by a session that nobody named": after["status"] != "running" or after["session"] is not None,
    }
    if pages:
        rules |= _page_rules(before, after, session)
    elif has_moved:
        rules["its position moved without a page, and not to its end"] = after["status"] == "done"
    if before["status"] == "done":
        rules["it went on after its end"] = not has_moved and new == old and after["status"] == "done"
    return [sentence for sentence, is_kept in rules.items() if not is_kept]


def _page_rules(before: Document, after: Document, session: bytes | None) -> dict[str, bool]:
    holder = None if before["session"] is None else bytes(before["session"])
    return {
        "a page outside a transaction": session is not None,
        "a page was committed by a session that does not hold its fence": session == holder,
        "a page and a fence in one change": after["fence"] == before["fence"],
        "a page of a partition that nobody runs": before["status"] == "running",
    }


def _is_before(one: Document | None, other: Document | None) -> bool:
    if other is None:
        return False
    return one is None or one["k"] < other["k"]
