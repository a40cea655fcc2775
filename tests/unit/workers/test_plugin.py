"""The sandbox is strict for what could be impure of ours, and only for that."""

from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.contrib.pydantic import pydantic_data_converter

from lull.workers.plugin import lull_plugin, sandbox


def test_of_ours_only_the_domain_passes_through_the_sandbox():
    """Its purity is proven by lint; workflows are imported anew, so that none shares state with another."""
    passed = {name for name in sandbox().restrictions.passthrough_modules if name.split(".")[0] == "lull"}
    assert passed == {"lull.domain"}


def test_the_driver_and_telemetry_do_not_pass_through_the_sandbox():
    passed = sandbox().restrictions.passthrough_modules
    assert not {"pymongo", "bson", "opentelemetry"} & passed
    assert not sandbox().restrictions.passthrough_all_modules


def test_a_client_with_the_plugin_converts_models_and_traces():
    config = lull_plugin().configure_client({})  # type: ignore[typeddict-item]
    assert config["data_converter"] is pydantic_data_converter
    assert [type(one) for one in config["interceptors"]] == [TracingInterceptor]
