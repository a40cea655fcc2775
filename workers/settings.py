"""
A worker's settings: ``LULL_…`` variables over ``lull.toml``, and Temporal's own variables over both.

Every error is one sentence that names file or variable and remedy; none repeats a value.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from temporalio.envconfig import ClientConfig, ClientConnectConfig

from lull.domain.config import CONFIG_NAMES, TemporalConfig
from lull.domain.errors import OperatorError
from lull.domain.settings import Settings, parse_settings


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this process. Raises OperatorError for what cannot be read or is not known."""
    environment = os.environ if environment is None else environment
    path = find_config(environment)
    if path is None:
        return parse_settings({}, environment, "lull.toml")
    return parse_settings(_read(path), environment, str(path))


def find_config(environment: Mapping[str, str]) -> Path | None:
    """
    Return the ``lull.toml`` that counts: ``$LULL_CONFIG``, the working directory's, the home's; or None.

    Raises OperatorError if ``LULL_CONFIG`` names no file: falling back to another would surprise.
    """
    named = environment.get("LULL_CONFIG")
    if named:
        if not Path(named).is_file():
            raise OperatorError(f"LULL_CONFIG names {named}, where no file is; correct it or unset it")
        return Path(named)
    candidates = [Path(name) for name in CONFIG_NAMES]
    home = environment.get("HOME")
    if home:
        candidates.append(Path(home) / ".config/lull/lull.toml")
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


def temporal_connection(config: TemporalConfig, environment: Mapping[str, str] | None = None) -> ClientConnectConfig:
    """
    Return what ``Client.connect`` needs: Temporal's own variables and profile file over *config*.

    Address, namespace, TLS and API key are Temporal's own business (``TEMPORAL_ADDRESS``,
    ``TEMPORAL_PROFILE``, ``temporal.toml``); ``[temporal]`` fills in what they leave open.
    """
    environment = os.environ if environment is None else environment
    named = environment.get("TEMPORAL_CONFIG_FILE")
    if named and not Path(named).is_file():
        raise OperatorError(f"TEMPORAL_CONFIG_FILE names {named}, where no file is; correct it or unset it")
    try:
        connection = ClientConfig.load_client_connect_config(override_env_vars=dict(environment))
    except (RuntimeError, ValueError, OSError):
        # The message may quote the file, and the file holds an API key.
        raise OperatorError(
            "Temporal's own settings cannot be read; look at the TEMPORAL_ variables and at the file they name "
            "(temporal.toml), for example with 'temporal config list'"
        ) from None
    connection.setdefault("target_host", config.address)
    connection.setdefault("namespace", config.namespace)
    return connection
