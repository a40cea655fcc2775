"""The governor's side of ``lull.governor``: its word under a fence, what workers and operators told it, what it learned."""

import os
import socket
from datetime import UTC, datetime

from pydantic import ValidationError
from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from lull.activities.mongo import Cluster, Document
from lull.activities.store import BUDGET_ID, GOVERNOR, JOBS, LEARNED_ID, ORDERS_ID, WORKER_PREFIX, ensure_ledger
from lull.domain.errors import FenceLost
from lull.domain.governor.budget import Budget
from lull.domain.governor.contest import Holder
from lull.domain.governor.status import Orders

_QUICK = WriteConcern(1)
_LOCAL = ReadConcern("local")
"""A word that an election undoes is said anew within half a second."""
_COMMENT = "lull governor"
_OWNER = f"{socket.gethostname()}:{os.getpid()}"


class Ledger:
    """One governor's."""

    def __init__(self, cluster: Cluster, origin: str = "") -> None:
        self._cluster = cluster
        self._origin = origin
        self._fence = 0
        self._sequence = 0
        self.operations = 0
        """Reads and writes that the server counted for us."""

    @property
    def _governor(self) -> Collection[Document]:
        return self._cluster.ledger(GOVERNOR).with_options(write_concern=_QUICK, read_concern=_LOCAL)

    def there(self) -> Document | None:
        """Return the budget as it stands; None where no governor has ever been."""
        ensure_ledger(self._cluster)
        self.operations += 1
        return self._governor.find_one({"_id": BUDGET_ID}, comment=_COMMENT)

    def take(self, there: Document | None) -> Document | None:
        """
        Every other governor of this cluster has been overtaken; returns what was learned before.

        None where somebody else has taken the fence since *there* was read.
        """
        try:
            found: Document | None = self._cluster.ledger(GOVERNOR).find_one_and_update(
                {"_id": BUDGET_ID, "fence": there.get("fence") if there else {"$exists": False}},
                {"$inc": {"fence": 1}, "$set": {"origin": self._origin, "owner": _OWNER}},
                upsert=there is None,
                return_document=ReturnDocument.AFTER,
                comment=_COMMENT,
            )
        except DuplicateKeyError:
            return None
        if found is None:
            return None
        self._fence, self._sequence = found["fence"], found.get("sequence", 0)
        learned = self._governor.find_one({"_id": LEARNED_ID}, comment=_COMMENT)
        return learned or {}

    def publish(self, budget: Budget) -> None:
        """Workers can read it. Raises FenceLost when another governor has taken over."""
        self._sequence += 1
        stamp = {
            "sequence": self._sequence,
            "fence": self._fence,
            "origin": self._origin,
            "owner": _OWNER,
            "at": datetime.now(UTC),
        }
        said = budget.model_copy(update=stamp)
        self.operations += 1
        result = self._governor.update_one(
            {"_id": BUDGET_ID, "fence": self._fence}, {"$set": said.model_dump()}, comment=_COMMENT
        )
        if result.matched_count != 1:
            raise FenceLost(
                f"governor of {self._cluster.name}: fence {self._fence} was overtaken; it says nothing more"
            )

    def heard(self) -> tuple[list[Document], Orders]:
        """Return workers' accounts and operators' orders."""
        self.operations += 1
        accounts: list[Document] = []
        orders = Orders()
        query = {"$or": [{"_id": ORDERS_ID}, {"_id": {"$gte": WORKER_PREFIX, "$lt": WORKER_PREFIX + "~"}}]}
        for found in self._governor.find(query, comment=_COMMENT):
            if found["_id"] == ORDERS_ID:
                orders = _orders(found)
            else:
                accounts.append(found)
        return accounts, orders

    def jobs(self, names: dict[str, int]) -> dict[str, Document]:
        """Return the specs of these jobs."""
        if not names:
            return {}
        self.operations += 1
        wanted = {"spec.weight": 1, "spec.priority": 1, "spec.foreground": 1}
        jobs = self._cluster.ledger(JOBS).with_options(read_concern=_LOCAL)
        return {
            found["_id"]: found.get("spec") or {}
            for found in jobs.find({"_id": {"$in": sorted(names)}}, wanted, comment=_COMMENT)
        }

    def keep(self, learned: Document) -> None:
        """What was learned is there for the next governor."""
        self.operations += 1
        self._governor.update_one({"_id": LEARNED_ID}, {"$set": learned}, upsert=True, comment=_COMMENT)


def holder(there: Document | None) -> Holder | None:
    """Return who has the fence, whatever else stands there in words of another version."""
    if there is None or "fence" not in there:
        return None
    return Holder(
        int(there["fence"]),
        int(there.get("sequence", 0)),
        str(there.get("origin") or ""),
        str(there.get("owner") or ""),
    )


def _orders(found: Document) -> Orders:
    orders = stored_orders(found)
    return orders.model_copy(update={"shut": True}) if found.get("shut_by_hand") else orders


def stored_orders(found: Document) -> Orders:
    """Return what operators ordered through a workflow; of a version that this one cannot read, only the epoch."""
    try:
        return Orders.model_validate(found.get("orders") or {})
    except ValidationError:
        return Orders(epoch=int(found.get("epoch") or 0))
