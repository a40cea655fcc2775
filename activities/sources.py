"""Whether a collection is one that lull can walk and write, and what its making says of it."""

import difflib
import fnmatch
from typing import NamedTuple

from lull.activities.mongo import Cluster, Document, world_errors
from lull.domain.errors import OperatorError
from lull.domain.job import JobSpec

WIRE_VERSION_MIN = 17
"""MongoDB 6.0's: older servers lack the range writes by ``$expr`` bounds that pages are made of."""
FCV_MIN = (6, 0)
NAMES_SHOWN_MAX = 10


class Source(NamedTuple):
    """What is known of an ordinary collection."""

    options: Document
    indexes: list[Document]
    documents: int
    """An estimate, from the collection's metadata."""
    bytes: int
    """Uncompressed."""

    @property
    def collation(self) -> Document | None:
        """The collection's default collation; None for plain byte comparison."""
        return self.options.get("collation")

    @property
    def document_bytes(self) -> float:
        """Average size of a document."""
        return self.bytes / self.documents if self.documents else 0.0


def require_supported_server(cluster: Cluster) -> None:
    """Raise OperatorError unless the server, and what it is allowed to be compatible with, is 6.0 or newer."""
    if cluster.hello()["maxWireVersion"] < WIRE_VERSION_MIN:
        raise OperatorError(
            f"cluster {cluster.name} runs MongoDB {version(cluster)}; lull needs 6.0 or newer, upgrade it first"
        )
    fcv = feature_compatibility_version(cluster)
    if fcv is not None and tuple(map(int, fcv.split("."))) < FCV_MIN:
        raise OperatorError(
            f"cluster {cluster.name} has featureCompatibilityVersion {fcv}; lull needs 6.0 or newer: run "
            'db.adminCommand({setFeatureCompatibilityVersion: "6.0"}) when you are sure not to downgrade'
        )


def version(cluster: Cluster) -> str:
    """Return the server's version, like ``6.0.27``."""
    with world_errors(f"cluster {cluster.name}"):
        return str(cluster.client.admin.command("buildInfo")["version"])


def feature_compatibility_version(cluster: Cluster) -> str | None:
    """Return it like ``6.0``; None where the worker's user, or a router, does not say."""
    try:
        with world_errors(f"cluster {cluster.name}"):
            found = cluster.client.admin.command("getParameter", 1, featureCompatibilityVersion=1)
    except OperatorError:
        return None
    return str(found["featureCompatibilityVersion"]["version"])


def examine(cluster: Cluster, spec: JobSpec) -> Source:
    """
    Return what is known of the job's collection.

    Raises OperatorError for what is no ordinary collection, or is not there, with the nearest name.
    """
    with world_errors(f"looking at {spec.source.namespace}"):
        database = cluster.database(spec.source.database)
        found = next(iter(database.list_collections(filter={"name": spec.source.collection})), None)
        if found is None:
            raise OperatorError(_missing(cluster, spec))
        _require_ordinary(spec, dict(found))
        stats = database.command("collStats", spec.source.collection)
        indexes: list[Document] = [dict(index) for index in cluster.source(spec).list_indexes()]
    return Source(found.get("options", {}), indexes, int(stats["count"]), int(stats["size"]))


def _require_ordinary(spec: JobSpec, found: Document) -> None:
    namespace, options = spec.source.namespace, found.get("options", {})
    if found["type"] == "view":
        raise OperatorError(
            f"{namespace} is a view on {spec.source.database}.{options.get('viewOn')}, and views cannot be written; "
            "name that collection, with the view's conditions in the filter"
        )
    if found["type"] == "timeseries":
        raise OperatorError(
            f"{namespace} is a time-series collection, whose measurements cannot be changed one by one; "
            "use its own expireAfterSeconds, or copy it into an ordinary collection"
        )
    if options.get("capped"):
        raise OperatorError(
            f"{namespace} is a capped collection: it is ordered by insertion and drops its oldest documents itself; "
            "copy it into an ordinary collection first"
        )
    if "encryptedFields" in options:
        raise OperatorError(
            f"{namespace} has queryable encryption, which only a client with its keys may write; lull has none"
        )


def _missing(cluster: Cluster, spec: JobSpec) -> str:
    wanted, database = spec.source.collection, spec.source.database
    names = sorted(
        name
        for name in cluster.database(database).list_collection_names()
        if not name.startswith(("system.", "enxcol_."))
        and any(fnmatch.fnmatchcase(f"{database}.{name}", pattern) for pattern in cluster.profile.namespaces)
    )
    if not names:
        return (
            f"{spec.source.namespace} does not exist: cluster {cluster.name} has no database {database!r} with "
            "collections that this profile allows; check source.cluster and source.database"
        )
    near = difflib.get_close_matches(wanted, names, n=1)
    more = ", ..." if len(names) > NAMES_SHOWN_MAX else ""
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names[:NAMES_SHOWN_MAX])}{more}"
    return f"{spec.source.namespace} does not exist; {hint}"
