"""A real Temporal server keeps its workflows, and learns search attributes that came later."""

import uuid
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from lull.embedded.errors import ExitCode, StackError
from lull.embedded.temporal import TemporalServer

pytestmark = pytest.mark.stack

KIND = SearchAttributeKey.for_keyword("JobKind")
PERCENT = SearchAttributeKey.for_int("JobPercent")


async def start_workflow(server: TemporalServer, *attributes: SearchAttributePair) -> WorkflowHandle:
    client = await Client.connect(server.address)
    return await client.start_workflow(
        "nobody-runs-it",
        id=str(uuid.uuid4()),
        task_queue="nowhere",
        search_attributes=TypedSearchAttributes(list(attributes)),
    )


async def test_workflows_survive_a_crash_and_a_later_search_attribute_works_at_once(tmp_path: Path):
    with TemporalServer(tmp_path, search_attributes={"JobKind": "Keyword"}) as server:
        handle = await start_workflow(server, SearchAttributePair(KIND, "update"))
        server.kill()
        server.start()
        client = await Client.connect(server.address)
        assert (await client.get_workflow_handle(handle.id).describe()).workflow_type == "nobody-runs-it"
    more = {"JobKind": "Keyword", "JobPercent": "Int"}
    with TemporalServer(tmp_path, search_attributes=more) as again:
        await start_workflow(again, SearchAttributePair(KIND, "update"), SearchAttributePair(PERCENT, 5))
        again.search_attributes["JobKind"] = "Int"
        with pytest.raises(StackError, match=r"JobKind is Keyword in .* and Int is needed") as error:
            again.wait_ready()
        assert error.value.exit_code == ExitCode.INPUT


def test_dynamic_config_reaches_the_server_and_nonsense_is_explained(tmp_path: Path):
    with TemporalServer(tmp_path, dynamic_config={"limit.historyCount.suggestContinueAsNew": 50}) as server:
        assert "suggestContinueAsNew=50" in Path(f"/proc/{server.pid}/cmdline").read_text()
        with pytest.raises(StackError, match=rf"port {server.port} .* is taken by temporal"):
            TemporalServer(tmp_path / "other", port=server.port).start()
    with pytest.raises(StackError, match="Color is no type of Temporal's; choose one of Bool, Datetime"):
        TemporalServer(tmp_path, search_attributes={"Paint": "Color"})


def test_a_damaged_database_is_a_sentence_with_a_remedy(tmp_path: Path):
    (tmp_path / "temporal.db").write_bytes(b"rubbish " * 1000)
    with pytest.raises(StackError, match=r"temporal\.db is not a database; restore it, or delete it to start over"):
        TemporalServer(tmp_path).start()
