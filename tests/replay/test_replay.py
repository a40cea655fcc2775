"""
The workflow takes the same way through every history it was recorded with.

A change of workflow code that would strand running jobs fails here first. After a change that is
meant (and guarded by ``workflow.patched`` for jobs that run), record anew:
``LULL_RECORD_HISTORIES=1 pytest tests/integration/workflows``.
"""

import asyncio
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from lull.workflows.governor import GovernorWorkflow
from lull.workflows.job import JobWorkflow

HISTORIES = [
    WorkflowHistory.from_json(f"{folder}/{path.stem}", path.read_text())
    for folder in ("histories", "governor")
    for path in sorted((Path(__file__).parent / folder).glob("*.json"))
]


def test_there_are_histories():
    assert len(HISTORIES) >= 20


async def test_every_recorded_history_replays():
    """Side by side: a replay mostly waits for its worker to start and stop."""
    replayer = Replayer(workflows=[JobWorkflow, GovernorWorkflow], data_converter=pydantic_data_converter)

    results = await asyncio.gather(
        *(replayer.replay_workflow(history, raise_on_replay_failure=False) for history in HISTORIES)
    )

    failures = {result.history.workflow_id: result.replay_failure for result in results if result.replay_failure}
    assert failures == {}
