"""``lull plan`` and ``lull doctor`` are short workflows: their answers and refusals come as they are."""

from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from lull.domain.errors import OperatorError
from lull.domain.queues import CONTROL
from lull.domain.slice import DoctorRequest, PlanRequest
from lull.workflows.doctor import DoctorWorkflow
from lull.workflows.plan import PlanWorkflow


async def test_a_plan_is_answered_and_nothing_is_opened(
    temporal_client: Client, world: Any, control_up: Any, make_spec: Any
):
    async with control_up():
        plan = await temporal_client.execute_workflow(
            PlanWorkflow.run, PlanRequest(spec=make_spec()), id=f"plan/{uuid4()}", task_queue=CONTROL
        )

    assert (plan.partitions, world.opened) == (4, [])


async def test_a_refused_plan_fails_with_the_sentence_alone(
    temporal_client: Client, world: Any, control_up: Any, make_spec: Any
):
    world.faults["plan"] = OperatorError("shop.orders is a view; name the collection behind it")
    async with control_up():
        with pytest.raises(WorkflowFailureError) as caught:
            await temporal_client.execute_workflow(
                PlanWorkflow.run, PlanRequest(spec=make_spec()), id=f"plan/{uuid4()}", task_queue=CONTROL
            )

    assert isinstance(caught.value.cause, ApplicationError)
    assert (caught.value.cause.type, caught.value.cause.message) == ("OperatorError", str(world.faults["plan"]))


async def test_the_doctor_answers(temporal_client: Client, control_up: Any):
    async with control_up():
        report = await temporal_client.execute_workflow(
            DoctorWorkflow.run, DoctorRequest(), id=f"doctor/{uuid4()}", task_queue=CONTROL
        )

    assert report.checks == ()
