"""Where Temporal is, and who said so: the nearest word holds, and every mistake is one sentence."""

from pathlib import Path

import pytest

from lull.domain.errors import OperatorError
from lull.starter.settings import Connection, load_connection


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and a home without any settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(folder: Path, **variables: str) -> Connection:
    return load_connection({"HOME": str(folder / "home"), **variables})


def test_without_any_settings_the_local_default_holds(folder: Path):
    found = load(folder)
    assert (found.address, found.namespace, found.ui_url) == ("127.0.0.1:7233", "default", "")
    assert found.origin.address == "the default"


def test_the_nearest_word_holds_and_is_named(folder: Path):
    (folder / "lull.toml").write_text('[temporal]\naddress = "a:1"\nnamespace = "n"\nui_url = "http://u/"\n')
    seen = load(folder)
    assert (seen.address, seen.origin.address, seen.namespace, seen.ui_url) == ("a:1", "lull.toml", "n", "http://u")
    seen = load(folder, LULL_TEMPORAL__ADDRESS="b:2")
    assert (seen.address, seen.origin.address) == ("b:2", "LULL_TEMPORAL__ADDRESS")
    seen = load(folder, LULL_TEMPORAL__ADDRESS="b:2", TEMPORAL_ADDRESS="c:3", TEMPORAL_NAMESPACE="m")
    assert (seen.address, seen.origin.address) == ("c:3", "TEMPORAL_ADDRESS")
    assert (seen.namespace, seen.origin.namespace) == ("m", "TEMPORAL_NAMESPACE")


def test_temporals_own_profile_counts_and_is_named(folder: Path):
    profile = folder / "temporal.toml"
    profile.write_text('[profile.default]\naddress = "d:4"\nnamespace = "p"\n')
    seen = load(folder, TEMPORAL_CONFIG_FILE=str(profile))
    assert (seen.address, seen.origin.address, seen.namespace) == ("d:4", "Temporal's profile file", "p")


def test_the_stack_of_lull_dev_is_found(folder: Path):
    (folder / ".lull").mkdir()
    (folder / ".lull/lull.toml").write_text('[temporal]\naddress = "127.0.0.1:9"\n')
    assert load(folder).origin.address == ".lull/lull.toml"


def test_the_home_counts_last(folder: Path):
    (folder / "home/.config/lull").mkdir(parents=True)
    (folder / "home/.config/lull/lull.toml").write_text('[temporal]\naddress = "h:1"\n')
    assert load(folder).address == "h:1"
    (folder / "lull.toml").write_text("")
    assert load(folder).address == "127.0.0.1:7233"


@pytest.mark.parametrize(
    "address", ["", "host", "http://host:7233", "host:", "host:x", "host:99999", ":7233", "host:-1"]
)
def test_what_is_no_address_is_refused_with_its_origin(folder: Path, address: str):
    (folder / "lull.toml").write_text(f'[temporal]\naddress = "{address}"\n')
    with pytest.raises(
        OperatorError, match=r"\(from lull.toml\), which is not host:port; write it like 127.0.0.1:7233"
    ):
        load(folder)


def test_settings_that_cannot_be_read_are_one_sentence(folder: Path):
    with pytest.raises(OperatorError, match=r"LULL_CONFIG names nowhere.toml, where no file is"):
        load(folder, LULL_CONFIG="nowhere.toml")
    with pytest.raises(OperatorError, match=r"TEMPORAL_CONFIG_FILE names nowhere.toml, where no file is"):
        load(folder, TEMPORAL_CONFIG_FILE="nowhere.toml")
    (folder / "lull.toml").write_text("[temporal")
    with pytest.raises(OperatorError, match=r"lull.toml is not TOML: .* correct that line"):
        load(folder)
    (folder / "lull.toml").write_bytes(b"\xff")
    with pytest.raises(OperatorError, match=r"lull.toml is not UTF-8 text"):
        load(folder)
    (folder / "lull.toml").write_text('[temporal]\nadress = "a:1"\n')
    with pytest.raises(OperatorError, match="did you mean 'address'"):
        load(folder)


def test_a_key_is_never_shown(folder: Path):
    profile = folder / "temporal.toml"
    profile.write_text('[profile.default]\naddress = "d:4"\napi_key = "secret-key"\n')
    seen = load(folder, TEMPORAL_CONFIG_FILE=str(profile))
    assert seen.options["api_key"] == "secret-key"
    assert "secret-key" not in repr(seen)
    profile.write_text('[profile.default\napi_key = "secret-key"\n')
    with pytest.raises(OperatorError) as caught:
        load(folder, TEMPORAL_CONFIG_FILE=str(profile))
    assert "secret-key" not in str(caught.value)
