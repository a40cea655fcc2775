"""What ``lull dev`` hosts its stack for: our search attributes, and a settings file that every room reads."""

from pathlib import Path

from lull.domain.signals import SEARCH_ATTRIBUTES
from lull.embedded.cli import Hooks


def dev_hooks() -> Hooks:
    """Return what the embedded stack has to know of us."""
    return Hooks(
        search_attributes={attribute.name: "Keyword" for attribute in SEARCH_ATTRIBUTES}, write_config=write_config
    )


def write_config(path: Path, mongo_uri: str, temporal_address: str, ui_url: str) -> None:
    """The settings of the embedded stack stand in *path*; what an operator added there stays."""
    path.write_text(
        "# Written by lull dev for its own stack, at every start.\n"
        f'[temporal]\naddress = "{temporal_address}"\nui_url = "{ui_url}"\n\n'
        f'[clusters.main]\nuri = "{mongo_uri}"\n',
        encoding="utf-8",
    )
