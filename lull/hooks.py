"""What the face brings to the rooms that may not know each other."""

import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lull.domain import roles
from lull.domain.config import ClusterProfile
from lull.domain.errors import OperatorError
from lull.domain.job import JobSpec
from lull.domain.signals import SEARCH_ATTRIBUTES
from lull.embedded.cli import Hooks
from lull.starter.views import Preview
from lull.workers.settings import load_settings


def dev_hooks() -> Hooks:
    """Return what the embedded stack has to know of us."""
    return Hooks(
        search_attributes={attribute.name: "Keyword" for attribute in SEARCH_ATTRIBUTES}, write_config=write_config
    )


def write_config(path: Path, mongo_uri: str, temporal_address: str, ui_url: str) -> None:
    """The settings of the embedded stack stand in *path*, for every command that is typed beside it."""
    path.write_text(
        "# Written by lull dev for its own stack, anew at every start. Settings of your own belong into lull.toml\n"
        "# in the working directory (which then counts instead of this file), or into LULL_ variables.\n"
        f'[temporal]\naddress = "{temporal_address}"\nui_url = "{ui_url}"\n\n'
        f'[clusters.main]\nuri = "{mongo_uri}"\n',
        encoding="utf-8",
    )


def preview(spec: JobSpec, samples: int, load: Sequence[str]) -> Sequence[Preview] | str:
    """Return what the job would make of a few documents, read with this shell's credentials; or why not."""
    settings = load_settings()
    profile = settings.clusters.get(spec.source.cluster)
    if profile is None:
        return (
            f"no documents are shown: this shell has no credentials for cluster {spec.source.cluster} "
            f"([clusters.{spec.source.cluster}] in lull.toml)"
        )
    from lull.activities.preview import sample  # noqa: PLC0415 - the driver, for those who have credentials
    from lull.activities.transforms import REGISTRY  # noqa: PLC0415

    if spec.function is not None:
        _load([*settings.worker.load, *load])
        if spec.function not in REGISTRY:
            return f"no documents are shown: {spec.function} is not known here; name its module with --load"
    found = sample(spec, profile, REGISTRY, samples)
    return [Preview(before=one.before, after=one.after, note=one.note) for one in found] or "no document matches"


def _load(modules: Iterable[str]) -> None:
    """The modules that this operator names are imported, as a worker would. Raises OperatorError."""
    sys.path.insert(0, str(Path.cwd()))
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - users' code may raise anything
            raise OperatorError(f"loading {module} raises {type(error).__name__}: {error}") from None


def print_roles() -> str:
    """Return what to paste into mongosh, for the profiles known here; for every namespace when there are none."""
    profiles: Mapping[str, ClusterProfile] = load_settings().clusters
    return roles.script(profiles or {"main": ClusterProfile.model_validate({"uri": "mongodb://host"})})
