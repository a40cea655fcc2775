import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository, from which benchmarks are imported as make does: as the working directory."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    return ROOT
