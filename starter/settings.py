"""
Where Temporal is, and who said so.

``TEMPORAL_…`` variables and Temporal's own profile file, then ``LULL_TEMPORAL__…``, then
``lull.toml``, then the local default. Each value keeps its origin: an address that is wrong is
corrected where it was written.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lull.domain.config import CONFIG_NAMES, TemporalConfig
from lull.domain.errors import OperatorError
from lull.domain.settings import Settings, parse_settings

if TYPE_CHECKING:
    from temporalio.envconfig import ClientConnectConfig

CONFIG_VARIABLE = "LULL_CONFIG"
_DEFAULT = "the default"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting came from, as a sentence can end: "(from TEMPORAL_ADDRESS)"."""

    address: str = _DEFAULT
    namespace: str = _DEFAULT


@dataclass(frozen=True, slots=True)
class Connection:
    """How Temporal is reached. ``options`` is what ``temporalio.client.Client.connect`` takes."""

    address: str
    namespace: str
    ui_url: str = ""
    origin: Origin = Origin()
    config: Path | None = None
    otlp_endpoint: str = ""
    """Where the span of a start goes; nowhere if empty."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # may hold an API key


def load_connection(environment: Mapping[str, str] | None = None) -> Connection:
    """Return how Temporal is reached from here. Raises OperatorError for settings that cannot be read."""
    environment = os.environ if environment is None else environment
    path = find_config(environment)
    table = _read(path) if path else {}
    settings = parse_settings(table, environment, str(path) if path else CONFIG_NAMES[0])
    return _connection(settings, environment, path, table)


def find_config(environment: Mapping[str, str]) -> Path | None:
    """
    Return the ``lull.toml`` that counts: ``$LULL_CONFIG``, the working directory's, the home's; or None.

    Raises OperatorError if ``LULL_CONFIG`` names no file: falling back to another would surprise.
    """
    named = environment.get(CONFIG_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise OperatorError(f"{CONFIG_VARIABLE} names {named}, where no file is; correct it or unset it")
        return Path(named)
    home = environment.get("HOME")
    candidates = [Path(name) for name in CONFIG_NAMES] + ([Path(home, ".config/lull/lull.toml")] if home else [])
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OperatorError(f"cannot read {path}: {error.strerror}; correct its owner or mode") from None
    except UnicodeDecodeError:
        raise OperatorError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise OperatorError(f"{path} is not TOML: {error}; correct that line") from None


def _connection(
    settings: Settings, environment: Mapping[str, str], path: Path | None, table: Mapping[str, Any]
) -> Connection:
    options = dict(_temporals_own(environment))
    ours = settings.temporal
    written = table.get("temporal", {})
    origin = Origin(
        address=_origin("address", "target_host", options, environment, path, written),
        namespace=_origin("namespace", "namespace", options, environment, path, written),
    )
    address = _checked_address(str(options.pop("target_host", ours.address)), origin.address)
    namespace = str(options.pop("namespace", ours.namespace))
    endpoint = settings.telemetry.otlp_endpoint
    return Connection(address, namespace, ours.ui_url.rstrip("/"), origin, path, endpoint, options)


def _temporals_own(environment: Mapping[str, str]) -> "ClientConnectConfig":
    from temporalio.envconfig import ClientConfig  # noqa: PLC0415 - a quarter of a second that --help can do without

    named = environment.get("TEMPORAL_CONFIG_FILE")
    if named and not Path(named).is_file():
        raise OperatorError(f"TEMPORAL_CONFIG_FILE names {named}, where no file is; correct it or unset it")
    try:
        return ClientConfig.load_client_connect_config(override_env_vars=dict(environment))
    except (RuntimeError, ValueError, OSError):
        # The message may quote the file, and the file may hold an API key.
        raise OperatorError(
            "Temporal's own settings cannot be read; look at the TEMPORAL_ variables and at the file they name "
            "(temporal.toml), for example with 'temporal config list'"
        ) from None


def _origin(  # noqa: PLR0917 - one row of a table
    name: str,
    temporals_name: str,
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    path: Path | None,
    written: object,
) -> str:
    variable = f"TEMPORAL_{name.upper()}"
    ours = f"LULL_TEMPORAL__{name.upper()}"
    if environment.get(variable):
        return variable
    if temporals_name in options:
        return "Temporal's profile file"
    if ours in environment:
        return ours
    if path and isinstance(written, Mapping) and name in written:
        return str(path)
    return _DEFAULT


def _checked_address(address: str, origin: str) -> str:
    """Return *address*, or raise OperatorError unless it is host:port."""
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65_535):
        raise OperatorError(
            f"Temporal's address is {address!r} (from {origin}), which is not host:port; "
            f"write it like {TemporalConfig().address}"
        )
    return address
