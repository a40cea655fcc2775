"""What stands in ``lull.toml``: the models. Each room that needs a part reads the file itself."""

import re
from collections.abc import Mapping
from typing import Annotated

from lull.domain.errors import OperatorError
from lull.domain.governor.budget import Mode
from lull.domain.governor.objective import Foreground
from lull.domain.job import JobSpec, Name
from lull.domain.strict import Strict
from pydantic import ConfigDict, Field, SecretStr, StringConstraints, field_validator

CONFIG_NAMES = ("lull.toml", ".lull/lull.toml")
"""Looked for in the working directory, in this order, after ``$LULL_CONFIG``; then in ``~/.config/lull/``."""

NamespacePattern = Annotated[str, StringConstraints(pattern=r"^[^.\s]+\.\S+$")]


class ClusterProfile(Strict):
    """One MongoDB cluster, by name. Specs and histories carry the name only."""

    # pydantic's own sentence would repeat the URI, password included.
    model_config = ConfigDict(hide_input_in_errors=True)

    uri: SecretStr
    namespaces: tuple[NamespacePattern, ...] = ("*.*",)
    """What jobs may touch: ``database.collection``, with ``*`` for any part of a name."""
    kinds: tuple[str, ...] = ()
    """Kinds that may run here; empty means all."""
    governor: Mode = Mode.ENFORCE
    """Whether jobs obey the governor: enforce, observe (it only watches) or off (there is none)."""
    foreground: Foreground = Foreground()
    """What the cluster's own users may feel at most."""

    @field_validator("uri")
    @classmethod
    def _is_mongodb(cls, uri: SecretStr) -> SecretStr:
        if not uri.get_secret_value().startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("a MongoDB URI begins with mongodb:// or mongodb+srv://")
        return uri

    def check(self, name: str, spec: JobSpec) -> None:
        """Raise OperatorError unless this profile lets *spec* run."""
        namespace = spec.source.namespace
        if not any(_allows(pattern, namespace) for pattern in self.namespaces):
            raise OperatorError(
                f"profile {name!r} does not allow {namespace}; it allows {', '.join(self.namespaces)}; "
                "the workers' operator can add it to namespaces in lull.toml"
            )
        if self.kinds and spec.kind not in self.kinds:
            raise OperatorError(
                f"profile {name!r} does not allow {spec.kind} jobs; it allows {', '.join(self.kinds)}; "
                "the workers' operator can add it to kinds in lull.toml"
            )


def _allows(pattern: str, namespace: str) -> bool:
    """Return whether *pattern* allows *namespace*; the star of a database's name ends where that name ends."""
    parts = zip(pattern.split(".", 1), namespace.split(".", 1), strict=True)
    return all(_matches(wanted, name) for wanted, name in parts)


def _matches(wanted: str, name: str) -> bool:
    # Not fnmatch: to that, [ and ? are patterns, and they are legal in a collection's name.
    return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), name, re.DOTALL) is not None


class TemporalConfig(Strict):
    """Where Temporal is. Temporal's own environment variables and profile files win over this."""

    address: str = "127.0.0.1:7233"
    namespace: str = "default"
    ui_url: str = ""
    """Base address of the Web UI, for links; no links without it."""


class WorkerConfig(Strict):
    """How a worker process is built."""

    load: tuple[str, ...] = ()
    """Modules with @transform functions, imported when the worker starts."""
    slots: int = Field(8, ge=1, le=200)
    """Slices at a time in one process, beside those reserved for critical jobs."""
    critical_slots: int = Field(2, ge=1, le=50)
    grace_s: float = Field(30.0, ge=1, le=600)
    """How long a shutdown waits for slices to reach a page boundary."""


class TelemetryConfig(Strict):
    """Where traces and metrics go; nowhere without an endpoint."""

    otlp_endpoint: str = ""
    """OTLP over HTTP, like http://127.0.0.1:4318."""
    service_name: Name = "lull-worker"

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_http(cls, endpoint: str) -> str:
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise ValueError("an OTLP endpoint begins with http:// or https://; gRPC endpoints are not spoken to")
        return endpoint.rstrip("/")


def profile_of(clusters: Mapping[str, ClusterProfile], name: str) -> ClusterProfile:
    """Return the profile called *name*, or raise OperatorError that names those there are."""
    try:
        return clusters[name]
    except KeyError:
        known = ", ".join(sorted(clusters)) or "none"
        raise OperatorError(
            f"this worker has no cluster profile {name!r}; it has: {known}; add [clusters.{name}] to its lull.toml"
        ) from None
