"""The compose file, its images, scripts and dashboards, checked without a container engine."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from lull.domain import roles, signals
from lull.domain.governor import budget
from lull.domain.settings import parse_settings
from lull.domain.signals import METRICS, SEARCH_ATTRIBUTES, Instrument, Metric
from lull.workers.records import Phase, Records, record_of_this_process

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {name for name, service in SERVICES.items() if service.get("restart") == "no"}
DOCKERFILES = sorted(DEPLOY.rglob("Dockerfile"))
SCRIPTS = sorted(DEPLOY.rglob("*.sh"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


# -- the file -------------------------------------------------------------------------------------


def test_it_is_a_compose_file_by_the_specifications_own_schema():
    schema = json.loads((ROOT / "tests" / "data" / "compose-spec.json").read_text())
    assert [error.message for error in Draft202012Validator(schema).iter_errors(COMPOSE)] == []


def images() -> Iterator[str]:
    yield from (service["image"] for service in SERVICES.values())
    for path in DOCKERFILES:
        stages = set(re.findall(r"^FROM .* AS (\S+)$", path.read_text(), re.MULTILINE))
        yield from (
            image for image in re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE) if image not in stages
        )


@pytest.mark.parametrize("image", sorted(set(images())))
def test_every_image_is_pinned_to_a_release(image: str):
    assert re.fullmatch(r"[a-z0-9./-]+:v?\d+(\.\d+){1,2}(-[a-z0-9-]+)?", image)


def test_images_of_one_product_have_one_release():
    tags: dict[str, set[str]] = {}
    for image in images():
        name, tag = image.rsplit(":", 1)
        tags.setdefault("temporal" if name in {"temporalio/server", "temporalio/admin-tools"} else name, set()).add(tag)
    assert {name: found for name, found in tags.items() if len(found) > 1} == {}


def test_the_workers_image_is_named_after_this_release():
    assert SERVICES["worker"]["image"] == f"lull:{PYPROJECT['project']['version']}"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_port_is_bound_to_the_loopback_address(name: str):
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_two_services_want_one_port():
    ports = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(set(ports)) == len(ports)


def dockerfile(service: dict[str, Any]) -> Path:
    build = service["build"]
    return (
        ROOT / build["context"] / build.get("dockerfile", "Dockerfile")
        if build["context"] != "."
        else ROOT / build["dockerfile"]
    )


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONE_SHOT))
def test_every_service_that_stays_has_a_health_check_and_comes_back(name: str):
    service = SERVICES[name]
    built_in = "build" in service and "\nHEALTHCHECK " in dockerfile(service).read_text()
    assert "healthcheck" in service or built_in
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_health_checks_run_without_a_shell_and_say_how_long(name: str):
    check = SERVICES[name].get("healthcheck")
    if check is not None:
        assert check["test"][0] == "CMD"
        assert {"interval", "timeout", "retries", "start_period"} <= check.keys()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_waits_for_services_that_exist_in_a_way_they_can_fulfil(name: str):
    for needed, condition in SERVICES[name].get("depends_on", {}).items():
        assert needed in SERVICES
        if condition["condition"] == "service_completed_successfully":
            assert needed in ONE_SHOT
        elif condition["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[needed]


def test_no_service_waits_for_itself_in_a_circle():
    waiting = {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}
    while waiting:
        ready = {name for name, needed in waiting.items() if not needed & waiting.keys()}
        assert ready, f"a circle among {sorted(waiting)}"
        waiting = {name: needed for name, needed in waiting.items() if name not in ready}


def test_whatever_must_happen_once_is_waited_for():
    """A one-shot service nobody waits for may not have run when it is needed."""
    needed = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    assert needed >= ONE_SHOT


def mounts() -> Iterator[tuple[str, str]]:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            yield name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]


@pytest.mark.parametrize(("service", "source"), sorted(set(mounts())))
def test_everything_that_is_mounted_is_there(service: str, source: str):
    if source.startswith("."):
        assert (ROOT / source).exists(), service
    else:
        assert source in COMPOSE["volumes"], service


def test_files_of_the_repository_are_mounted_read_only():
    written = [
        v for s in SERVICES.values() for v in s.get("volumes", []) if v.startswith((".", "$")) and not v.endswith(":ro")
    ]
    assert written == []


def test_every_volume_is_used():
    assert {source for _, source in mounts() if not source.startswith(".")} == set(COMPOSE["volumes"])


def mentioned(service: dict[str, Any]) -> set[str]:
    """Files inside the container that a service's command names in /deploy."""
    words = [*service.get("entrypoint", []), *map(str, service.get("environment", {}).values())]
    return {word for word in words if word.startswith("/deploy/")}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_script_a_service_runs_is_mounted(name: str):
    targets = {volume.split(":")[-2] for volume in SERVICES[name].get("volumes", []) if volume.endswith(":ro")}
    assert mentioned(SERVICES[name]) <= targets


# -- variables and secrets ------------------------------------------------------------------------

EXAMPLE = dict(
    line.split("=", 1)
    for line in (DEPLOY / ".env.example").read_text().splitlines()
    if line and not line.startswith("#")
)
VARIABLES = {(name, form) for name, form in re.findall(r"\$\{(\w+)(:[-?])?", TEXT)}


def test_every_variable_is_explained_in_the_example_and_every_one_there_is_used():
    assert {name for name, _ in VARIABLES} == set(EXAMPLE)


def test_compose_refuses_to_start_without_the_secrets_and_has_a_default_for_the_rest():
    forms = dict(VARIABLES)
    assert all(form in {":?", ":-"} for form in forms.values())
    secret = {name for name in forms if name.endswith(("PASSWORD", "KEY"))}
    assert {name for name, form in forms.items() if form == ":?"} == secret


def test_the_example_holds_no_secret():
    assert {name for name, value in EXAMPLE.items() if value} == {"LULL_CODE"}
    assert all(value in TEXT for value in EXAMPLE.values())


def test_no_service_is_given_a_written_out_password():
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|PWD|KEY|SECRET|TOKEN", key):
                assert re.match(r"\$\{\w+:\?", value), f"{name}: {key}"


def test_secrets_never_enter_the_repository():
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


# -- workers --------------------------------------------------------------------------------------


def worker_environment() -> dict[str, str]:
    variables: dict[str, str] = SERVICES["worker"]["environment"]
    return {name: re.sub(r"\$\{\w+:[?-][^}]*\}", "", value) for name, value in variables.items()}


def test_the_workers_settings_are_settings():
    """Each LULL_ variable and each line of lull.toml is one that a worker knows."""
    table = tomllib.loads((DEPLOY / "lull.toml").read_text())
    settings = parse_settings(table, worker_environment(), "lull.toml")
    assert settings.clusters["main"].uri.get_secret_value().startswith("mongodb://lull:@mongo:27017/")
    assert settings.worker.load == ()


def test_a_worker_is_killed_only_after_its_grace_and_fifteen_seconds():
    grace_s = tomllib.loads((DEPLOY / "lull.toml").read_text())["worker"]["grace_s"]
    for name in ("worker", "worker-critical"):
        assert SERVICES[name]["stop_grace_period"] == f"{grace_s + 15}s"


def test_whom_the_workers_speak_to_is_there():
    environment = worker_environment()
    hosts = {
        re.sub(r"^\w+://([^@/]*@)?", "", environment[name]).split("/")[0]
        for name in ("LULL_CLUSTERS__MAIN__URI", "LULL_TELEMETRY__OTLP_ENDPOINT", "TEMPORAL_ADDRESS")
    }
    assert {host.split(":")[0] for host in hosts} <= SERVICES.keys()
    assert environment["TEMPORAL_NAMESPACE"] == SERVICES["temporal-namespace"]["environment"]["TEMPORAL_NAMESPACE"]


def test_the_user_of_the_workers_may_do_what_doctor_prints_and_nothing_more():
    settings = parse_settings(tomllib.loads((DEPLOY / "lull.toml").read_text()), worker_environment(), "lull.toml")
    assert json.loads((DEPLOY / "mongo" / "roles.json").read_text()) == roles.role(settings.clusters["main"])


# -- images ---------------------------------------------------------------------------------------

WORKER_IMAGE = (DEPLOY / "Dockerfile").read_text()
IGNORED = [
    line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line and not line.startswith("#")
]


def copied() -> list[str]:
    """What the workers' image takes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", WORKER_IMAGE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_whatever_is_copied_into_the_image_is_there_and_not_ignored():
    for source in copied():
        assert (ROOT / source).exists()
        assert f"!{source.rstrip('/')}" in IGNORED


def test_the_image_holds_every_package_that_is_shipped():
    folders = {folder.split("/")[0] for folder in PYPROJECT["tool"]["setuptools"]["package-dir"].values()}
    assert folders <= {source.rstrip("/") for source in copied()}


def test_nothing_private_enters_the_build():
    assert IGNORED[0] == "*"
    assert not any(fnmatch(".env", pattern.lstrip("!")) for pattern in IGNORED if pattern.startswith("!"))


def test_packages_are_installed_by_hash_only():
    installs = re.findall(r'^RUN .*pip.*"install".*$', WORKER_IMAGE, re.MULTILINE)
    assert installs
    for line in installs:
        assert '"--require-hashes"' in line or ('"--no-index"' in line and '"--no-deps"' in line)


def test_the_image_runs_as_nobody_special_and_hears_sigterm_itself():
    assert re.findall(r"^USER (.+)$", WORKER_IMAGE, re.MULTILINE)[-1] == "lull:lull"
    assert "\nSTOPSIGNAL SIGTERM\n" in WORKER_IMAGE
    assert json.loads(re.findall(r"^ENTRYPOINT (.+)$", WORKER_IMAGE, re.MULTILINE)[-1]) == ["lull"]
    assert json.loads(re.findall(r"^CMD (.+)$", WORKER_IMAGE, re.MULTILINE)[-1])[0] == "worker"


def pinned(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", path.read_text(), re.MULTILINE))


RUNTIME = pinned(ROOT / "requirements-runtime.lock")


def test_what_is_shipped_is_what_was_tested():
    tested = pinned(ROOT / "requirements.lock")
    assert {name: version for name, version in RUNTIME.items() if tested.get(name) != version} == {}


def test_the_runtime_lock_has_every_dependency_and_no_tool():
    wanted = {re.split(r"[<>=!\[;]", line)[0].lower() for line in PYPROJECT["project"]["dependencies"]}
    assert wanted <= set(RUNTIME)
    assert set(RUNTIME).isdisjoint({"pytest", "mypy", "ruff", "hypothesis", "import-linter", "jsonschema"})


def test_every_line_of_the_runtime_lock_has_hashes():
    text = (ROOT / "requirements-runtime.lock").read_text()
    assert len(re.findall(r"^[a-z0-9._-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)) == len(RUNTIME)
    assert "://" not in text


@pytest.mark.parametrize(
    ("phases", "healthy"),
    [
        ([], False),
        ([Phase.STARTING], False),
        ([Phase.READY], True),
        ([Phase.DRAINING], True),  # it finishes the pages in hand, and must not be killed for that
    ],
)
def test_the_workers_health_is_whether_it_polls(tmp_path: Path, phases: list[Phase], *, healthy: bool):
    for phase in phases:
        said = {"identity": "w", "queues": ("lull",), "slots": 1, "address": "a", "namespace": "n", "grace_s": 1.0}
        Records(tmp_path / "lull").write(record_of_this_process(**said, phase=phase))
    ran = subprocess.run(
        [sys.executable, DEPLOY / "worker_ready.py"],
        env={"XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert (ran.returncode == 0) is healthy
    assert bool(ran.stderr) is not healthy


# -- scripts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_parsed_and_stops_at_the_first_error(path: Path):
    subprocess.run(["sh", "-n", path], check=True)
    assert path.read_text().startswith("#!/bin/sh\n")
    assert "\nset -eu\n" in path.read_text()


@pytest.mark.parametrize("path", [*SCRIPTS, DEPLOY / "mongo" / "init.js"], ids=lambda path: path.name)
def test_a_script_reads_only_variables_that_its_service_sets(path: Path):
    service = next(s for s in SERVICES.values() if any(path.name in str(volume) for volume in s.get("volumes", [])))
    text = path.read_text()
    read = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", text)) | set(re.findall(r'required\("(\w+)"\)', text))
    own = set(re.findall(r"^([A-Z_]+)=", text, re.MULTILINE)) | set(re.findall(r"const ([A-Z_]+) =", text))
    assert read - own <= service["environment"].keys()


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to parse JavaScript")
def test_the_javascript_can_be_parsed():
    subprocess.run([str(shutil.which("node")), "--check", DEPLOY / "mongo" / "init.js"], check=True)


def test_the_namespace_gets_exactly_our_search_attributes():
    script = (DEPLOY / "temporal" / "namespace.sh").read_text()
    (names,) = re.findall(r"^for attribute in (.+); do$", script, re.MULTILINE)
    assert names.split() == [attribute.name for attribute in SEARCH_ATTRIBUTES]


@pytest.mark.parametrize("path", sorted(p for p in DEPLOY.rglob("*.y*ml")), ids=lambda path: path.name)
def test_yaml_can_be_parsed(path: Path):
    assert yaml.safe_load(path.read_text())


# -- telemetry ------------------------------------------------------------------------------------

COLLECTOR: dict[str, Any] = yaml.safe_load((DEPLOY / "otel" / "collector.yaml").read_text())
PROMETHEUS: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "lull.json").read_text())


def test_the_collectors_pipelines_are_made_of_what_it_has():
    for name, pipeline in COLLECTOR["service"]["pipelines"].items():
        assert name in {"metrics", "traces"}
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= COLLECTOR[part].keys()
    for part in ("receivers", "processors", "exporters"):
        used = {each for pipeline in COLLECTOR["service"]["pipelines"].values() for each in pipeline[part]}
        assert used == COLLECTOR[part].keys()
    assert set(COLLECTOR["service"]["extensions"]) == COLLECTOR["extensions"].keys()


def test_a_batch_is_made_last_since_it_forgets_who_sent_what():
    for pipeline in COLLECTOR["service"]["pipelines"].values():
        assert pipeline["processors"][0] == "memory_limiter"
        assert pipeline["processors"][-1] == "batch"


def test_the_workers_send_to_where_the_collector_listens():
    endpoint = SERVICES["worker"]["environment"]["LULL_TELEMETRY__OTLP_ENDPOINT"]
    port = COLLECTOR["receivers"]["otlp"]["protocols"]["http"]["endpoint"].split(":")[1]
    assert endpoint == f"http://otel-collector:{port}"


def test_the_collectors_health_is_asked_where_it_is_told():
    asked = re.findall(r"http://127\.0\.0\.1:(\d+)/", (DEPLOY / "otel" / "Dockerfile").read_text())
    assert asked == [COLLECTOR["extensions"]["health_check"]["endpoint"].split(":")[1]]


def test_prometheus_scrapes_what_tells_metrics():
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in PROMETHEUS["scrape_configs"]}
    exported = COLLECTOR["exporters"]["prometheus"]["endpoint"].split(":")[1]
    served = SERVICES["temporal"]["environment"]["PROMETHEUS_ENDPOINT"].split(":")[1]
    assert targets["workers"] == [f"otel-collector:{exported}"]
    assert targets["temporal"] == [f"temporal:{served}"]


def test_the_collectors_labels_survive_the_scrape():
    (workers,) = [job for job in PROMETHEUS["scrape_configs"] if job["job_name"] == "workers"]
    assert workers["honor_labels"] is True


UNIT_SUFFIXES = {"s": "_seconds", "ms": "_milliseconds", "By": "_bytes", "1": "_ratio"}


def prometheus_names(metric: Metric) -> set[str]:
    """
    The series that the collector's exporter makes of *metric* (strategy UnderscoreEscapingWithSuffixes).

    Dots become underscores, a unit is spelled out, an annotation in braces is dropped, a counter
    ends in _total. Tried with the exporter's own translator on every metric of ours.
    """
    name = metric.name.replace(".", "_") + UNIT_SUFFIXES.get(metric.unit, "")
    if metric.instrument is Instrument.COUNTER:
        return {f"{name}_total"}
    if metric.instrument is Instrument.GAUGE:
        return {name}
    return {f"{name}_{part}" for part in ("bucket", "sum", "count")}


TEMPORAL_SERIES = {
    "temporal_activity_schedule_to_start_latency_seconds_bucket": {"le", "task_queue", "namespace"},
    "temporal_worker_task_slots_used": {"task_queue", "worker_type", "namespace"},
    "temporal_worker_task_slots_available": {"task_queue", "worker_type", "namespace"},
}
"""Of the SDK's core, as seen on the wire with durations in seconds."""

SERIES: dict[str, set[str]] = TEMPORAL_SERIES | {
    name: {label.replace(".", "_") for label in metric.attributes} | ({"le"} if name.endswith("_bucket") else set())
    for metric in METRICS
    for name in prometheus_names(metric)
}


def queries() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (variable["definition"] for variable in DASHBOARD["templating"]["list"])


@pytest.mark.parametrize("query", list(queries()))
def test_the_dashboard_asks_only_for_series_and_labels_that_exist(query: str):
    asked = re.findall(r"\b((?:lull|temporal)_[a-z_]+)(?=\{)|label_values\((\w+)", query)
    flat = {name for pair in asked for name in pair if name}
    (series,) = flat
    assert series in SERIES
    labels = set(re.findall(r"([a-z_]+)=~?\"", query))
    labels |= {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    labels |= set(re.findall(r"label_values\(\w+, (\w+)\)", query))
    assert labels <= SERIES[series]


def test_the_dashboard_shows_what_a_person_on_call_asks_for():
    shown = " ".join(queries())
    wanted = [
        signals.DOCUMENTS, signals.PAGES, signals.PAGE_HOLD, signals.CONFLICTS, signals.SLICES, signals.SLICE_WAITED,
        signals.FENCES_LOST, signals.DUTY, signals.GATE_OPEN, signals.GATE_SHUTS, signals.ZONE, signals.UTILIZATION, signals.OWN,
        signals.FOREGROUND_LATENCY, signals.STARVED,
    ]  # fmt: skip
    assert [metric.name for metric in wanted if not any(name in shown for name in prometheus_names(metric))] == []
    for quantile in ("0.5,", "0.95,", "0.99,"):
        assert f"histogram_quantile({quantile} sum by (le) (rate(lull_page_hold_milliseconds_bucket" in shown
    assert "temporal_activity_schedule_to_start_latency" in shown


def test_counters_are_shown_as_rates_and_buckets_as_quantiles():
    for query in queries():
        if "_total{" in query:
            assert re.search(r"(rate|increase)\(\w+_total\{", query)
        if "_bucket{" in query:
            assert query.startswith("histogram_quantile(")


ALERTS: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]


def test_prometheus_reads_the_alerts_where_they_are_mounted():
    (path,) = PROMETHEUS["rule_files"]
    assert f"./deploy/prometheus/alerts.yml:{path}:ro" in SERVICES["prometheus"]["volumes"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_only_for_series_and_labels_that_exist_and_says_what_to_do(rule: dict[str, Any]):
    asked = set(re.findall(r"\blull_[a-z_]+", rule["expr"]))
    assert asked <= SERIES.keys()
    assert all("cluster" in SERIES[series] for series in asked)
    for series, labels in re.findall(r"\b(lull_[a-z_]+)\{([^}]*)\}", rule["expr"]):
        assert set(re.findall(r"([a-z_]+)=", labels)) <= SERIES[series]
    assert rule["expr"].count("(") == rule["expr"].count(")")
    assert rule["labels"]["severity"] in {"page", "warn"}
    assert {"summary", "description"} <= rule["annotations"].keys()


def test_an_alert_waits_for_the_label_that_a_slice_without_a_governors_word_has():
    told = budget.Told()
    reason = f"governor: {budget.leave(told, 'job', 0.0).label}"
    (silent,) = [rule for rule in RULES if rule["alert"] == "LullGovernorSilent"]
    assert f'reason="{reason}"' in silent["expr"]


def test_every_panel_has_a_place_a_title_and_the_datasource_that_is_provisioned():
    provisioned = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    (source,) = provisioned["datasources"]
    assert source["url"] == "http://prometheus:9090"
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert panel["description"]
        assert {panel["datasource"]["uid"], *(t["datasource"]["uid"] for t in panel["targets"])} == {source["uid"]}
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_grafana_finds_its_dashboard_where_it_is_mounted():
    provisioned = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "dashboards" / "lull.yaml").read_text())
    folder = provisioned["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/lull.json"


# -- words ----------------------------------------------------------------------------------------


def test_the_readme_names_every_service():
    readme = (DEPLOY / "README.md").read_text()
    assert [name for name in SERVICES if f"`{name}`" not in readme] == []
