"""From what an operator asked for to a running worker, or several."""

import ctypes
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from lull.activities.transforms import REGISTRY
from lull.domain.errors import LullError, OperatorError
from lull.domain.settings import Settings
from lull.workers.exits import ExitCode
from lull.workers.governors import serve_governor
from lull.workers.logs import LogFormat, configure_logging
from lull.workers.serve import Serving, first_record, recorded, serve
from lull.workers.settings import load_settings
from lull.workers.supervisor import Supervisor, child_command


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of ``lull worker``."""

    critical_only: bool = False
    load: tuple[str, ...] = ()
    slots: int | None = None
    processes: int = 1
    log_format: LogFormat | None = None
    fail_fast: bool = False
    governor_only: bool = False
    with_governor: bool = True
    child_of: int | None = None
    """The lull process that started this one, with which it ends."""


def work(asked: Asked) -> ExitCode:
    """
    Work until a signal says stop; return how it ended.

    Raises OperatorError for settings or modules that cannot be used, before anything is hosted.
    """
    configure_logging(asked.log_format)
    _end_with(asked.child_of)
    settings = load_settings()
    _require_clusters(settings)
    if asked.governor_only:
        serve_governor(settings)
        return ExitCode.DONE
    load_modules([*settings.worker.load, *asked.load])
    serving = _serving(settings, asked)
    if asked.processes == 1:
        serve(serving)
        return ExitCode.DONE
    with recorded(first_record(serving)):
        command = child_command(_child_arguments(asked))
        # One governor's process is enough for all of them.
        others = [*command, "--no-governor"]
        return Supervisor([command if number == 0 else others for number in range(asked.processes)]).run()


def _serving(settings: Settings, asked: Asked) -> Serving:
    worker, slots = settings.worker, asked.slots
    return Serving(
        settings=settings,
        registry=REGISTRY,
        slots=0 if asked.critical_only else slots or worker.slots,
        critical_slots=(slots or worker.critical_slots) if asked.critical_only else worker.critical_slots,
        with_control=not asked.critical_only,
        fail_fast=asked.fail_fast,
        with_governor=asked.with_governor and not asked.critical_only,
        parent=asked.child_of,
    )


def _require_clusters(settings: Settings) -> None:
    if not settings.clusters:
        raise OperatorError(
            "no cluster profile is configured, so there is nothing to work on; add [clusters.main] with its uri to "
            "lull.toml, or set LULL_CLUSTERS__MAIN__URI (lull dev writes a lull.toml for its own stack)"
        )


def load_modules(modules: Iterable[str]) -> None:
    """The modules are imported, also from the working directory. Raises OperatorError that says why one is not."""
    # Last, so that nothing here can take the place of an installed package.
    here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if here not in sys.path:
        sys.path.append(here)
    for module in dict.fromkeys(modules):
        try:
            importlib.import_module(module)
        except LullError:
            raise
        except Exception as error:  # noqa: BLE001 - the module is a user's, and may raise anything
            raise OperatorError(_why_not(module, error)) from None


def _why_not(module: str, error: Exception) -> str:
    if (
        isinstance(error, ModuleNotFoundError)
        and error.name
        and (module == error.name or module.startswith(f"{error.name}."))
    ):
        return f"there is no module {module!r} to load; start the worker in the folder that holds it, or set PYTHONPATH"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    place = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"cannot load module {module!r}: {type(error).__name__}{place}: {error}; correct the module"


def _child_arguments(asked: Asked) -> list[str]:
    said = ["--child-of", str(os.getpid())]
    said += ["--queue", "critical"] if asked.critical_only else []
    said += [word for module in asked.load for word in ("--load", module)]
    said += ["--slots", str(asked.slots)] if asked.slots else []
    said += ["--log-format", asked.log_format.value] if asked.log_format else []
    said += [] if asked.with_governor else ["--no-governor"]
    return said + (["--fail-fast"] if asked.fail_fast else [])


def _end_with(parent: int | None) -> None:
    """This process is asked to drain when *parent* dies, where the kernel can do that."""
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        raise LullError(f"the process {parent} that started this worker is gone; start it again")
