"""What makes a Temporal client, worker or replayer lull's: conversion, sandbox, tracing."""

import temporalio.client
import temporalio.worker
from opentelemetry.trace import Tracer
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.plugin import SimplePlugin
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

# Purity of lull.domain is proven by lint. Importing its models anew for every run would cost
# memory and time; lull.workflows stays sandboxed.
PASSED_THROUGH = ("lull.domain", "pydantic", "pydantic_core", "annotated_types")


def sandbox() -> SandboxedWorkflowRunner:
    """Return the runner that workflows are run and replayed in."""
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH))


def lull_plugin(
    *interceptors: temporalio.client.Interceptor | temporalio.worker.Interceptor, tracer: Tracer | None = None
) -> SimplePlugin:
    """
    Return the plugin for ``Client.connect``, which hands it on to workers, or for a ``Replayer``.

    The tracing interceptor is always there: where nothing is exported it still passes on the
    trace that another process began. *tracer* is the process's own if None.
    """
    return SimplePlugin(
        "lull",
        data_converter=pydantic_data_converter,
        workflow_runner=sandbox(),
        interceptors=[TracingInterceptor(tracer), *interceptors],
    )
