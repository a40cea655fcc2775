"""A real Temporal dev server with its Web UI on the loopback address."""

import contextlib
import http.client
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from lull.embedded.binaries import Binary
from lull.embedded.errors import ExitCode, StackError
from lull.embedded.ports import LOOPBACK, free_port
from lull.embedded.service import READY_SECONDS_MAX, Service
from lull.embedded.temporal_binary import find_temporal

ANSWER_SECONDS_MAX = 10.0
"""How long the operator service may take for one answer."""

SEARCH_ATTRIBUTE_TYPES = frozenset({"Text", "Keyword", "Int", "Double", "Bool", "Datetime", "KeywordList"})


class TemporalServer(Service):
    """
    One dev server over one database file, so that workflows survive a restart.

    *search_attributes* are names with Temporal's types (``Keyword``, ``Int``, …); the ones
    that an older database lacks are added. *dynamic_config* holds Python values. *port* and
    *ui_port* stay the same over restarts; quiet free ones if None.
    """

    name = "Temporal"

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        ui_port: int | None = None,
        namespace: str = "default",
        search_attributes: Mapping[str, str] | None = None,
        dynamic_config: Mapping[str, Any] | None = None,
        binary: Binary | None = None,
        log: Path | None = None,
        log_level: str = "warn",
        dies_with_parent: bool = True,
    ) -> None:
        super().__init__(data, log=log or data / "temporal.log", dies_with_parent=dies_with_parent)
        self.database = data / "temporal.db"
        self.port = port or free_port()
        self.ui_port = ui_port or free_port()
        self.namespace = namespace
        self.search_attributes = _checked(search_attributes or {})
        self.dynamic_config = {**_DYNAMIC_CONFIG, **(dynamic_config or {})}
        self.binary = binary or find_temporal()
        self._log_level = log_level

    @property
    def address(self) -> str:
        """Where clients and workers connect: ``127.0.0.1:7233``."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def ui_url(self) -> str:
        """The Web UI."""
        return f"http://{LOOPBACK}:{self.ui_port}"

    @override
    def wait_ready(self, timeout_seconds: float = READY_SECONDS_MAX) -> None:
        """It takes requests, its Web UI too, and every search attribute is registered."""
        super().wait_ready(timeout_seconds)
        self._register_search_attributes()

    @override
    def _ports(self) -> list[int]:
        return [self.port, self.ui_port]

    @override
    def _environment(self) -> dict[str, str]:
        return self.binary.full_environment()

    @override
    def _command(self) -> list[str]:
        command = [
            # The operator's own profile (an address, a key) must not reach this server.
            *(str(self.binary.path), "server", "start-dev", "--disable-config-file", "--disable-config-env"),
            *("--ip", LOOPBACK, "--port", str(self.port), "--ui-port", str(self.ui_port)),
            *("--db-filename", str(self.database), "--namespace", self.namespace),
            *("--log-level", self._log_level),
        ]
        for name, kind in self.search_attributes.items():
            command += ["--search-attribute", f"{name}={kind}"]
        for key, value in self.dynamic_config.items():
            command += ["--dynamic-config-value", f"{key}={json.dumps(value)}"]
        return command

    @override
    def _answers(self) -> bool:
        return namespace_answers(self.ui_port, self.namespace, timeout_seconds=2)

    @override
    def _explain(self, words: str) -> str | None:
        for sign, meaning in _KNOWN_ENDS.items():
            if sign in words:
                return meaning.format(data=self.data, database=self.database, version=self.binary.version_text)
        return None

    def _register_search_attributes(self) -> None:
        """A database keeps the attributes it was made with: the flag adds none later."""
        known = self._known_search_attributes() if self.search_attributes else {}
        for name, kind in self.search_attributes.items():
            if name not in known:
                self._operate("search-attribute", "create", "--name", name, "--type", kind)
            elif known[name] != kind:
                raise StackError(
                    f"search attribute {name} is {known[name]} in {self.database}, and {kind} is needed; "
                    "Temporal changes no types: use another data folder, or remove the attribute there first",
                    ExitCode.INPUT,
                )

    def _known_search_attributes(self) -> dict[str, str]:
        listed = json.loads(self._operate("search-attribute", "list", "--output", "json"))
        return {name: _type_name(kind) for name, kind in listed.get("customAttributes", {}).items()}

    def _operate(self, *words: str) -> str:
        """What ``temporal operator`` prints about this server."""
        answer: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603 -- the binary that was found, words built here
            [
                *(str(self.binary.path), "operator", *words),
                *("--address", self.address, "--namespace", self.namespace),
                *("--disable-config-file", "--disable-config-env"),
            ],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS_MAX,
            check=False,
        )
        if answer.returncode != 0:
            raise StackError(
                f"Temporal refused 'operator {' '.join(words)}': {answer.stderr.strip()} (log: {self.log})"
            )
        return answer.stdout


def namespace_answers(ui_port: int, namespace: str, timeout_seconds: float) -> bool:
    """
    Whether Temporal serves *namespace*.

    Asked through the Web UI's door, which asks the frontend: both serve if it answers.
    """
    with contextlib.closing(http.client.HTTPConnection(LOOPBACK, ui_port, timeout=timeout_seconds)) as connection:
        try:
            connection.request("GET", f"/api/v1/namespaces/{namespace}")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False


# A registered attribute must be usable by the next request, not in a minute.
_DYNAMIC_CONFIG: Mapping[str, Any] = {"system.forceSearchAttributesCacheRefreshOnRead": True}

_KNOWN_ENDS = {
    "address already in use": "one of its ports is taken; end what holds it or choose another port",
    "file is not a database": (
        "{database} is not a database; restore it, or delete it to start over (its workflows are lost)"
    ),
    "database disk image is malformed": (
        "{database} is damaged; restore it, or delete it to start over (its workflows are lost)"
    ),
    "no space left on device": "the disk that holds {data} is full; free some space there",
    "database or disk is full": "the disk that holds {data} is full; free some space there",
    "database is locked": "another process uses {database}; end it or choose another data folder",
    "readonly database": "it may not write {database}; correct its owner or choose another data folder",
    "version mismatch": (
        "{database} was written by another version of Temporal than this {version}; "
        "use that one (TEMPORAL_CLI_PATH), or another data folder"
    ),
}
"""What the server's log says when it gives up, and what that means for an operator."""


def _checked(attributes: Mapping[str, str]) -> dict[str, str]:
    for name, kind in attributes.items():
        if kind not in SEARCH_ATTRIBUTE_TYPES:
            raise StackError(
                f"search attribute {name}: {kind} is no type of Temporal's; "
                f"choose one of {', '.join(sorted(SEARCH_ATTRIBUTE_TYPES))}",
                ExitCode.INPUT,
            )
    return dict(attributes)


def _type_name(kind: str) -> str:
    """``INDEXED_VALUE_TYPE_KEYWORD_LIST`` as ``KeywordList``."""
    words = kind.removeprefix("INDEXED_VALUE_TYPE_").split("_")
    return kind if len(words) == 1 and not kind.isupper() else "".join(word.capitalize() for word in words)
