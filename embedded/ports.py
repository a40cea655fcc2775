"""TCP ports on the loopback address."""

import random
import socket
from pathlib import Path

from lull.embedded.errors import ExitCode, StackError

LOOPBACK = "127.0.0.1"

SEARCH_SPAN = 200
"""How many ports above the preferred one are tried."""

# Below the range from which the kernel serves outgoing connections: a port taken from
# that range can be lost to any client while its server is being restarted.
_QUIET_RANGE = (20_000, 32_000)

_handed_out: set[int] = set()


def is_free(port: int) -> bool:
    """Whether a server could listen on *port* now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            # Binding alone succeeds on some systems beside a listener with the same option.
            probe.listen(1)
        except (OSError, OverflowError):
            return False
    return True


def free_port() -> int:
    """A port that nobody holds, that this process has not handed out before."""
    start = random.randrange(*_QUIET_RANGE)  # noqa: S311 -- a place to begin looking, not a secret
    return next_free(start)


def next_free(preferred: int) -> int:
    """*preferred* or the next one above it that is free; taken for this process from now on."""
    for port in range(preferred, min(preferred + SEARCH_SPAN, 65_536)):
        if port not in _handed_out and is_free(port):
            _handed_out.add(port)
            return port
    raise StackError(
        f"no free port from {preferred} to {preferred + SEARCH_SPAN - 1} on {LOOPBACK}; "
        "end what holds them, or name a port yourself",
    )


def require_free(port: int, *, option: str) -> int:
    """*port*, which the operator named with *option*, or a sentence about who holds it."""
    if not 1 <= port <= 65_535:
        raise StackError(f"{option} {port} is no port; a port is 1 to 65535", ExitCode.INPUT)
    if not is_free(port):
        raise StackError(
            f"{option} {port} is taken{held_by(port)}; end that, name another port, "
            f"or leave {option} out to get the next free one",
            ExitCode.INPUT,
        )
    return port


def held_by(port: int) -> str:
    """`` by nginx (pid 12)`` where the system tells, else nothing."""
    pid = holder(port)
    return "" if pid is None else f" by {_process_name(pid)} (pid {pid})"


def holder(port: int) -> int | None:
    """The process that listens on *port*, where Linux tells us; None means not known."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        if _holds(process, wanted):
            return int(process.name)
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in (row.split() for row in rows):
            is_listening = fields[3] == "0A"
            if is_listening and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _holds(process: Path, sockets: set[str]) -> bool:
    try:
        return any(str(link.readlink()) in sockets for link in (process / "fd").iterdir())
    except OSError:
        return False


def _process_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "a process"
