"""A face for the tests: ``lull dev`` with a worker that only says what happens to it."""

import sys
from pathlib import Path

from lull.embedded.cli import Hooks, build_app

WORKER = """
import os, pathlib, signal, sys, time
notes = pathlib.Path(os.environ["LULL_CONFIG"]).with_name("worker-notes.txt")
def note(text):
    with notes.open("a") as file:
        file.write(text + "\\n")
def drain(*_):
    note("drained")
    sys.exit(0)
signal.signal(signal.SIGTERM, drain)
note(f"started {os.getpid()} {' '.join(sys.argv[1:])}")
while True:
    time.sleep(0.1)
"""


def write_config(path: Path, mongo_uri: str, temporal_address: str, ui_url: str) -> None:
    path.write_text(f'mongo = "{mongo_uri}"\ntemporal = "{temporal_address}"\nui = "{ui_url}"\n')


if __name__ == "__main__":
    build_app(
        Hooks(
            search_attributes={"JobKind": "Keyword", "JobPercent": "Int"},
            worker_command=(sys.executable, "-c", WORKER),
            dev_command=(sys.executable, __file__),
            write_config=write_config,
        )
    )()
