"""What an operator's file and environment become, and what is said of every mistake in them."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.config import TemporalConfig
from lull.domain.errors import OperatorError
from lull.domain.settings import Settings, parse_settings
from lull.workers.settings import find_config, load_settings, temporal_connection

SECRET = "hunter2"
URI = f"mongodb://root:{SECRET}@db.example.org:27017/?replicaSet=rs0"

FILE = f"""
[temporal]
address = "temporal.example.org:7233"

[clusters.main]
uri = "{URI}"
namespaces = ["shop.*"]

[worker]
slots = 4
"""


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for variable in [name for name in os.environ if name.startswith(("LULL_", "TEMPORAL_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_without_file_and_variables_the_defaults_hold():
    assert load_settings() == Settings()


def test_a_file_is_read_and_variables_win_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lull.toml").write_text(FILE)
    monkeypatch.setenv("LULL_WORKER__SLOTS", "12")
    monkeypatch.setenv("LULL_CLUSTERS__EU__URI", "mongodb://eu.example.org")

    settings = load_settings()

    assert settings.temporal.address == "temporal.example.org:7233"
    assert settings.clusters["main"].uri.get_secret_value() == URI
    assert settings.clusters["main"].namespaces == ("shop.*",)
    assert settings.clusters["eu"].uri.get_secret_value() == "mongodb://eu.example.org"
    assert settings.worker.slots == 12


@pytest.mark.parametrize("text", ["shop.jobs,crm.jobs", " shop.jobs , crm.jobs,", '["shop.jobs", "crm.jobs"]'])
def test_a_list_in_a_variable_is_written_with_commas_or_as_json(text: str):
    assert parse_settings({}, {"LULL_WORKER__LOAD": text}, "").worker.load == ("shop.jobs", "crm.jobs")


def test_commas_of_a_uri_are_its_own():
    uri = "mongodb://a:27017,b:27017/?replicaSet=rs0"
    settings = parse_settings({}, {"LULL_CLUSTERS__MAIN__URI": uri}, "")
    assert settings.clusters["main"].uri.get_secret_value() == uri


def test_the_file_named_by_the_environment_counts_before_all_others(tmp_path: Path):
    named = tmp_path / "named.toml"
    named.touch()
    (tmp_path / "lull.toml").touch()
    (tmp_path / ".lull").mkdir()
    (tmp_path / ".lull/lull.toml").touch()
    home = tmp_path / "home/.config/lull/lull.toml"
    home.parent.mkdir(parents=True)
    home.touch()
    environment = {"LULL_CONFIG": str(named), "HOME": str(tmp_path / "home")}

    assert find_config(environment) == named
    environment["LULL_CONFIG"] = ""
    assert find_config(environment) == Path("lull.toml")
    (tmp_path / "lull.toml").unlink()
    assert find_config(environment) == Path(".lull/lull.toml")
    (tmp_path / ".lull/lull.toml").unlink()
    assert find_config(environment) == home
    home.unlink()
    assert find_config(environment) is None


def test_a_named_file_that_is_not_there_is_not_replaced_by_another(tmp_path: Path):
    (tmp_path / "lull.toml").touch()
    with pytest.raises(OperatorError, match=r"LULL_CONFIG names .*nope.toml, where no file is"):
        load_settings({"LULL_CONFIG": "nope.toml"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"[worker\n", r"lull.toml is not TOML: .*line 1.*correct that line"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"[wroker]\n", r"\[wroker\] is no setting; did you mean 'worker'\?"),
        (b"[worker]\nslot = 1\n", r"slot in \[worker\] is no setting; did you mean 'slots'\?"),
        (b"[worker]\nslots = 0\n", r"slots in \[worker\]: .*greater than or equal to 1; the default is 8"),
        (b"worker = 3\n", r"\[worker\]: is no table"),
        (b"clusters = 3\n", r"\[clusters\]: is no table.*LULL_CLUSTERS__MAIN__URI"),
        (b"[clusters.main]\n", r"uri in \[clusters.main\] is missing; write it like mongodb://"),
        (b"[clusters.main]\nuri = 'pg://root:hunter2@db'\n", "begins with mongodb://"),
        (b"[clusters.main]\nuri = 'mongodb://db'\nurl = 'mongodb://root:hunter2@db'\n", "did you mean 'uri'"),
        (b"[clusters.main]\nuri = ['mongodb://root:hunter2@db']\n", "valid string"),
        (b"[clusters.main]\nuri = 'mongodb://db'\nnamespaces = ['shop']\n", "is not database.collection"),
        (b"[telemetry]\notlp_endpoint = 'collector:4317'\n", "begins with http:// or https://"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence_with_place_and_remedy(tmp_path: Path, text: bytes, sentence: str):
    (tmp_path / "lull.toml").write_bytes(text)
    with pytest.raises(OperatorError, match=sentence) as caught:
        load_settings()
    assert "lull.toml" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("LULL_WROKER__SLOTS", "3", "is no setting; did you mean 'worker'"),
        ("LULL_WORKER__SLOT", "3", "is no setting; did you mean 'slots'"),
        ("LULL_WORKER__SLOTS", "many", "valid integer"),
        ("LULL_WORKER__LOAD", "[a", "is no JSON list; write it like a,b"),
        ("LULL_CLUSTERS__MAIN", URI, "is no table; .*LULL_CLUSTERS__MAIN__URI"),
        ("LULL_CLUSTERS__MAIN__URI", f"root:{SECRET}@db", "begins with mongodb://"),
        ("LULL_CLUSTERS__MAIN__URI__X", URI, "is no table|valid string"),
        ("LULL_WORKER__", "x", "is no setting"),
        ("LULL_", "x", None),
        ("LULL_MONGOD", "/usr/bin/mongod", None),
    ],
)
def test_a_mistake_in_a_variable_names_it(variable: str, text: str, sentence: str | None):
    if sentence is None:
        assert load_settings({variable: text}) == Settings()
        return
    with pytest.raises(OperatorError, match=sentence) as caught:
        load_settings({variable: text})
    assert variable in str(caught.value)
    assert SECRET not in str(caught.value)


def test_every_mistake_is_told_at_once():
    with pytest.raises(OperatorError) as caught:
        parse_settings({"worker": {"slots": 0, "grace_s": 0}}, {"LULL_TEMPORAL__ADRESS": "x"}, "lull.toml")
    assert len(str(caught.value).splitlines()) == 3


def test_settings_never_show_a_uri():
    settings = parse_settings({"clusters": {"main": {"uri": URI}}}, {}, "")
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()


_KEYS = st.sampled_from(
    ["temporal", "clusters", "worker", "telemetry", "main", "uri", "slots", "load", "kinds", "x", ""]
)
_VALUES = st.sampled_from([URI, 3, 0, -1.5, True, [], [URI], {}, "a.b", float("nan")])
_TABLES = st.recursive(_VALUES, lambda inner: st.dictionaries(_KEYS, inner, max_size=3), max_leaves=12)


@given(
    st.dictionaries(_KEYS, _TABLES, max_size=4),
    st.dictionaries(
        st.lists(_KEYS, min_size=1, max_size=4).map(lambda parts: "LULL_" + "__".join(parts).upper()),
        st.sampled_from([URI, "3", "", "[", '["a.b"]', "a,b"]),
        max_size=3,
    ),
)
def test_whatever_is_written_there_are_settings_or_sentences_and_never_a_password(
    table: dict[str, Any], environment: dict[str, str]
):
    said = "fine"
    try:
        parse_settings(table, environment, "lull.toml")
    except OperatorError as error:
        said = str(error)
    assert said.strip()
    assert SECRET not in said


def test_temporals_own_variables_win_over_the_file():
    config = TemporalConfig(address="file.example.org:7233", namespace="file")
    assert temporal_connection(config, {}) == {"target_host": "file.example.org:7233", "namespace": "file"}
    own = {"TEMPORAL_ADDRESS": "own.example.org:7233", "TEMPORAL_NAMESPACE": "own"}
    assert temporal_connection(config, own) == {"target_host": "own.example.org:7233", "namespace": "own"}


def test_temporals_own_profile_file_wins_too_and_a_broken_one_is_told_without_quoting_it(tmp_path: Path):
    profile = tmp_path / "temporal.toml"
    environment = {"TEMPORAL_CONFIG_FILE": str(profile)}
    with pytest.raises(OperatorError, match="TEMPORAL_CONFIG_FILE names"):
        temporal_connection(TemporalConfig(), environment)
    profile.write_text('[profile.default]\naddress = "own.example.org:7233"\n')
    assert temporal_connection(TemporalConfig(), environment)["target_host"] == "own.example.org:7233"
    profile.write_text(f'[profile.default]\napi_key = "{SECRET}\n')
    with pytest.raises(OperatorError, match="TEMPORAL_ variables") as caught:
        temporal_connection(TemporalConfig(), environment)
    assert SECRET not in str(caught.value)
