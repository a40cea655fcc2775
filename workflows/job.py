"""
The job workflow: remembers what was asked and what came of it, and decides what runs next.

Three tasks share one state. *Life* does what the status demands, one step per status; the
*publisher* keeps the directive in the ledger equal to the wanted one; the *clock* wakes when a
deadline or a throttle's end arrives. Signals only change the state. The documents never come here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import Priority, RawValue, RetryPolicy, SearchAttributeKey, SearchAttributeUpdate
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from lull.domain import job, orders, queues, signals
    from lull.domain.errors import NON_RETRYABLE, OperatorError
    from lull.domain.lifecycle import ENDED, Event, Status, advance
    from lull.domain.ports import LedgerPort, PagesPort, PlanningPort
    from lull.domain.slice import (
        HEARTBEAT_TIMEOUT_SECONDS,
        CloseRequest,
        DrainProof,
        Opened,
        OpenRequest,
        Outcome,
        PublishRequest,
        SliceTask,
        TemporalIds,
    )
    from lull.domain.state import Answer, JobState, Progress

from lull.workflows import control, details
from lull.workflows.payloads import contents, patient

HISTORY_EVENTS_MAX = 3_000
"""Events after which a run is continued as new: long before the server's limits, and quick to replay."""
DRAIN_SECONDS = 10.0
"""
How long a drain waits for slices that have been told to return. One that has not by then is on a
worker that is gone, or has none: it is given up, and the raised fences keep it from committing.
"""
DEADLINE_REACHED = "DeadlineReached"
MEMO_OUTCOME = "outcome"
"""The memo field in which an ended job's outcome can be read without a worker."""

# What the world does is tried for as long as it takes; what an operator or a defect did, never again.
_PATIENCE = RetryPolicy(
    initial_interval=timedelta(seconds=0.5),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=10),
    non_retryable_error_types=list(NON_RETRYABLE),
)
# A slice outlasts the world by itself. What ends one is mostly its worker's death, already waited out by the
# heartbeat's timeout: killed three times in a row it must not wait seconds more, while writers wait for its page.
_SLICE_PATIENCE = RetryPolicy(
    initial_interval=timedelta(seconds=0.2),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=2),
    non_retryable_error_types=list(NON_RETRYABLE),
)
_PRIORITY_KEYS = {job.Priority.CRITICAL: 1, job.Priority.NORMAL: 3}
_KEYS = {attribute: SearchAttributeKey.for_keyword(attribute.name) for attribute in signals.SEARCH_ATTRIBUTES}


RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


@workflow.defn(name="lull.job")
class JobWorkflow:
    """One job, from request to outcome, over as many runs as it takes."""

    @workflow.init
    def __init__(self, state: JobState) -> None:
        self._state = state
        self._slices: dict[int, asyncio.Task[None]] = {}
        """In flight or resting, by partition."""
        self._opening: workflow.ActivityHandle[Opened] | None = None
        self._told = state.status
        """The status the ledger was last told."""
        self._publishing_since: datetime | None = None
        self._failure_type = ""
        self._labels: tuple[Status, str] | None = None
        self._changes = 0
        self._defect: BaseException | None = None
        control.begin(state, workflow.now())

    @workflow.run
    async def run(self, state: JobState) -> Outcome:
        """Return how the job ended; raise when it did not end well, or to continue as new."""
        del state  # @workflow.init has it.
        self._tell()
        self._spawn(self._keep_time(), "clock")
        life = asyncio.create_task(self._live(), name="life")
        try:
            # A cancel reaches this task alone: life goes on to its next page boundary and cleans up.
            await asyncio.shield(life)
        except asyncio.CancelledError:
            if workflow.cancellation_reason() is None:
                raise  # evicted
            self._cancel()
            await life
        if self._state.status not in ENDED:
            self._state.runs += 1
            workflow.continue_as_new(self._state)
        return self._conclusion()

    # --- life -----------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Do what each status demands, until the job has ended or its history is long enough."""
        if self._state.status is Status.PLANNING:
            await self._open()
        self._spawn(self._keep_publishing(), "publisher")
        while self._state.status not in ENDED and not self._may_continue_as_new():
            await self._step()
        if self._state.outcome is not None:
            workflow.upsert_memo({MEMO_OUTCOME: self._state.outcome.model_dump(mode="json")})
        self._changed()
        await self._until(workflow.all_handlers_finished)

    def _step(self) -> Awaitable[None]:
        if self._state.status is Status.RUNNING:
            return self._run_slices()
        if self._state.status is Status.PAUSING:
            return self._drain_and_prove()
        if self._state.status is Status.PAUSED:
            return self._until(lambda: self._state.status is not Status.PAUSED or self._may_continue_as_new())
        if self._state.status is Status.COMPLETING:
            return self._complete()
        return self._retire()

    async def _open(self) -> None:
        info = workflow.info()
        request = OpenRequest(
            spec=self._state.spec,
            again=self._state.again,
            who=self._state.who,
            why=self._state.why,
            temporal=TemporalIds(namespace=info.namespace, workflow_id=info.workflow_id, run_id=info.run_id),
        )
        self._opening = workflow.start_activity_method(
            PlanningPort.open,
            request,
            start_to_close_timeout=timedelta(minutes=30),
            heartbeat_timeout=timedelta(seconds=30),
            retry_policy=_PATIENCE,
            # The ledger is closed after this: the attempt that may be writing it must really have ended.
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"plan and open the ledger for {self._state.spec.job}",
        )
        if self._state.status is not Status.PLANNING:
            self._opening.cancel()
        try:
            answer = await self._opening
        except (ActivityError, asyncio.CancelledError) as error:
            self._not_opened(error)
            return
        if answer.finished is not None:
            self._state.plan, self._state.outcome = answer.plan, answer.finished
            self._advance(Event.FINISHED_BEFORE)
            return
        control.opened(self._state, answer, workflow.now())
        self._told = Status.RUNNING
        self._changed()

    def _not_opened(self, error: BaseException) -> None:
        if is_cancelled_exception(error):
            return  # The end that was asked for is under way.
        kind, message = _cause(error)
        if kind != OperatorError.type_name:
            self._fail(error)
        elif self._stop(Event.REFUSE, message):
            self._state.outcome = self._outcome(Status.REFUSED)
        else:
            # Cancelled meanwhile. Nothing of ours was opened, and what is there is not ours to close.
            self._state.outcome = self._outcome(self._final)
            self._advance(Event.CLOSED)

    async def _run_slices(self) -> None:
        """Keep the window full until the partitions are done or the job is told otherwise."""
        while self._state.status is Status.RUNNING and not self._may_continue_as_new():
            if control.all_done(self._state):
                self._advance(Event.PARTITIONS_DONE)
                return
            self._fill_window()
            seen = self._changes
            await self._until(lambda seen=seen: self._changes != seen or self._may_continue_as_new())  # type: ignore[misc]

    def _fill_window(self) -> None:
        if not self._may_launch():
            return
        room = max(self._state.spec.limits.parallel - len(self._slices), 0)
        for partition in list(islice(control.due(self._state, self._slices), room)):
            self._slices[partition] = self._spawn(self._slice(partition), f"partition {partition}")

    async def _slice(self, partition: int) -> None:
        """One slice of the partition is done and accounted for, and the partition has had its rest."""
        try:
            await self._slice_and_rest(partition)
        finally:
            del self._slices[partition]
        self._changed()

    async def _slice_and_rest(self, partition: int) -> None:
        priority, epoch = self._state.spec.priority, self._state.directive.epoch
        partitions = self._state.plan.partitions if self._state.plan else 0
        try:
            report = await workflow.execute_activity_method(
                PagesPort.run_slice,
                SliceTask(
                    **dict(self._state.ref),
                    partition=partition,
                    epoch=epoch,
                    waited_s=self._state.rested_s.get(partition, 0.0),
                ),
                start_to_close_timeout=timedelta(minutes=10),
                heartbeat_timeout=timedelta(seconds=HEARTBEAT_TIMEOUT_SECONDS),
                retry_policy=_SLICE_PATIENCE,
                task_queue=queues.pages_queue(priority),
                priority=Priority(priority_key=_PRIORITY_KEYS[priority]),
                summary=f"partition {partition} of {partitions}",
            )
        except (ActivityError, asyncio.CancelledError) as error:
            if not is_cancelled_exception(error):
                self._fail(error)
            return
        control.fold(self._state, report, workflow.now())
        self._changed()
        rest_s = control.rest_seconds(report)
        if rest_s > 0 and self._state.status is Status.RUNNING:
            began = workflow.now()
            await self._within(
                rest_s,
                lambda: self._state.directive.epoch != epoch or not self._may_launch(),
                f"partition {partition} rests",
            )
            control.rested(self._state, report, (workflow.now() - began).total_seconds())

    async def _drain_and_prove(self) -> None:
        """Paused, with the proof; or whatever was asked for on the way."""
        if not await self._drained():
            return
        if control.all_done(self._state):
            self._advance(Event.PARTITIONS_DONE)
            return
        try:
            proof = await self._raise_fences()
        except ActivityError as error:
            self._fail(error)
            return
        control.drained(self._state, proof)
        self._changed()

    async def _drained(self) -> bool:
        """Return whether no slice lives any more; False if the status changed on the way."""
        status = self._state.status

        def is_other() -> bool:
            return self._state.status is not status

        await self._until(lambda: is_other() or self._is_published)
        if self._slices and not await self._within(
            DRAIN_SECONDS, lambda: is_other() or not self._slices, "slices come to a page boundary"
        ):
            for task in list(self._slices.values()):
                task.cancel()
            await self._until(lambda: is_other() or not self._slices)
        return not is_other()

    async def _complete(self) -> None:
        """Completed, if the ledger's sums are right."""
        await self._until(lambda: self._is_published)
        try:
            self._state.outcome = await self._close()
        except ActivityError as error:
            self._fail(error)
            return
        self._advance(Event.CLOSED)

    async def _retire(self) -> None:
        """Ended before it was done: nothing runs, nothing can commit, claims are given back."""
        status = self._state.status
        if not await self._drained():
            return
        try:
            if self._state.plan is not None:
                await self._raise_fences()
            self._state.outcome = await self._close()
        except ActivityError as error:
            if status is not Status.FAILING:
                self._fail(error)
                return
            _, message = _cause(error)
            self._state.ending += f"; and the ledger could not be closed: {message}"
            self._state.outcome = self._outcome(Status.FAILED)
        self._advance(Event.CLOSED)

    async def _raise_fences(self) -> DrainProof:
        return await _tell_ledger(LedgerPort.raise_fences, self._state.ref, "prove that nothing can commit")

    async def _close(self) -> Outcome:
        status = self._final
        request = CloseRequest(
            **dict(self._state.ref),
            status=status,
            message=details.conclusion(self._state),
            who=self._state.who,
            active_s=self._state.active_s,
            waited_s=self._state.waited_s,
        )
        return await _tell_ledger(LedgerPort.close, request, f"close the ledger: {status}")

    @property
    def _final(self) -> Status:
        return advance(self._state.status, Event.CLOSED)

    def _outcome(self, status: Status) -> Outcome:
        """Return an outcome from what the workflow knows, where no ledger can tell it."""
        plan = self._state.plan
        return Outcome(
            job=self._state.spec.job,
            status=status,
            message=details.conclusion(self._state),
            incarnation=self._state.ref.incarnation,
            counts=self._state.tally.totals,
            partitions=plan.partitions if plan else 0,
            partitions_done=self._state.tally.done,
            guarantee=plan.guarantee if plan else None,
            started_at=self._state.started_at,
            ended_at=workflow.now(),
            active_s=self._state.active_s,
            waited_s=self._state.waited_s,
        )

    def _conclusion(self) -> Outcome:
        """Return the outcome of a completed job; raise what Temporal should show for any other."""
        outcome = self._state.outcome
        assert outcome is not None
        if self._state.status is Status.COMPLETED:
            return outcome
        if self._state.status is Status.CANCELLED:
            raise asyncio.CancelledError(outcome.message)
        kinds = {Status.EXPIRED: DEADLINE_REACHED, Status.REFUSED: OperatorError.type_name}
        kind = kinds.get(self._state.status, self._failure_type)
        message = self._state.ending if self._state.status is Status.REFUSED else outcome.message
        raise ApplicationError(message, outcome, type=kind, non_retryable=True)

    # --- events ---------------------------------------------------------------------------------

    def _advance(self, event: Event) -> None:
        self._state.status = advance(self._state.status, event)
        self._changed()

    def _stop(self, event: Event, why: str) -> bool:
        stopping = control.stop(self._state, event, why)
        if stopping:
            self._changed()
        if stopping and self._opening is not None and not self._opening.done():
            self._opening.cancel()
        return stopping

    def _cancel(self) -> None:
        why = workflow.cancellation_reason()
        if not self._stop(Event.CANCEL, f"cancelled: {orders.clean(why)}" if why else "cancelled"):
            self._state.warn(f"cancel came too late: the job was {self._state.status}")
            self._changed()

    def _fail(self, error: BaseException) -> None:
        """The job fails with this error's sentence; the first one holds."""
        kind, message = _cause(error)
        if self._stop(Event.FAIL, message):
            self._failure_type = kind

    # --- publisher and clock ----------------------------------------------------------------------

    async def _keep_publishing(self) -> None:
        """The ledger has the newest directive, one write at a time."""
        while True:
            await self._until(lambda: self._is_behind)
            self._publishing_since = workflow.now()
            self._tell()
            await self._publish()
            self._publishing_since = None
            self._changed()

    async def _publish(self) -> None:
        status = self._state.status
        directive = control.wanted(self._state)
        directive = directive.model_copy(update={"epoch": directive.epoch + 1})
        request = PublishRequest(**dict(self._state.ref), directive=directive, status=status)
        try:
            await _tell_ledger(LedgerPort.publish, request, f"publish {directive.verb} ({status})")
        except ActivityError as error:
            # Nobody can be told; the fences will have to do. Counted as told, so that it is not tried for ever.
            self._fail(error)
        self._state.directive = directive
        self._told = status

    @property
    def _is_behind(self) -> bool:
        """Whether the ledger should be told something newer than it was told last."""
        if self._state.plan is None or self._state.status in ENDED | {Status.PLANNING, Status.COMPLETING}:
            return False
        return self._told is not self._state.status or control.wanted(self._state) != self._state.directive

    @property
    def _is_published(self) -> bool:
        return self._publishing_since is None and not self._is_behind

    def _may_launch(self) -> bool:
        return self._state.status is Status.RUNNING and self._is_published and not self._is_history_long()

    def _is_history_long(self) -> bool:
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.get_current_history_length() >= HISTORY_EVENTS_MAX

    def _may_continue_as_new(self) -> bool:
        """Whether the history is long and everything that matters is in the state."""
        return (
            self._is_history_long()
            and self._state.status in {Status.RUNNING, Status.PAUSED}
            and not self._slices
            and self._is_published
            and workflow.all_handlers_finished()
        )

    async def _keep_time(self) -> None:
        """What has a moment happens at that moment."""
        while True:
            moment = control.next_moment(self._state)
            left_s = None if moment is None else max((moment - workflow.now()).total_seconds(), 0.0)
            is_moved = lambda moment=moment: control.next_moment(self._state) != moment  # noqa: E731
            if await self._within(left_s, is_moved, "until the deadline, or the end of a throttle"):
                continue
            was = self._state.status
            control.tick(self._state, workflow.now())
            if self._state.status is not was and self._opening is not None and not self._opening.done():
                self._opening.cancel()
            self._changed()

    # --- waiting and telling ------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run *work* beside us; a defect in it fails the workflow task instead of hanging unseen."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._surface)
        return task

    def _surface(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._defect = self._defect or task.exception()

    async def _until(self, ready: Callable[[], bool]) -> None:
        await self._within(None, ready)

    async def _within(self, seconds: float | None, ready: Callable[[], bool], summary: str = "") -> bool:
        """Return True when *ready*, False when the time was up first; the Web UI shows *summary* at the timer."""
        try:
            await workflow.wait_condition(
                lambda: self._defect is not None or ready(), timeout=seconds, timeout_summary=summary or None
            )
        except TimeoutError:
            return False
        if self._defect is not None:
            raise self._defect
        return True

    def _changed(self) -> None:
        """Whoever waits looks again, and whoever looks sees it."""
        self._changes += 1
        self._tell()

    def _tell(self) -> None:
        workflow.set_current_details(
            details.markdown(self._state, self._slices, self._publishing_since, workflow.now())
        )
        labels = (self._state.status, details.label(self._state))
        if labels != self._labels:
            workflow.upsert_search_attributes(self._search_attributes(*labels))
            self._labels = labels

    def _search_attributes(self, status: Status, why: str) -> list[SearchAttributeUpdate[str]]:
        changed = [
            _KEYS[signals.STATE].value_set(status.value),
            _KEYS[signals.REASON].value_set(why) if why else _KEYS[signals.REASON].value_unset(),
        ]
        if self._labels is not None:
            return changed
        source = self._state.spec.source
        return [
            *changed,
            _KEYS[signals.KIND].value_set(self._state.spec.kind),
            _KEYS[signals.CLUSTER].value_set(source.cluster),
            _KEYS[signals.NAMESPACE].value_set(source.namespace[: details.LABEL_CHARACTERS_MAX]),
        ]

    # --- queries ------------------------------------------------------------------------------------

    @workflow.query(description="Where the job is: status, counts, rate, ETA, partitions, warnings")
    def progress(self) -> Progress:
        """Return what ``lull status`` shows."""
        return details.progress(self._state, self._slices, workflow.now())

    @workflow.query(description="Why is it not running faster?")
    def explain(self) -> list[str]:
        """Return one sentence for each thing that holds the job back, the most telling first."""
        return details.explain(self._state, self._slices, self._publishing_since, workflow.now())

    @workflow.query(description="The job's specification, without defaults")
    def spec(self) -> dict[str, Any]:
        """Return the canonical spec."""
        return self._state.spec.canonical()

    # --- signals: they only change the state, and never fail ---------------------------------------

    @workflow.signal(
        description='Stop at the next page boundary: nothing, "a reason", or {"reason": "...", "who": "..."}'
    )
    @patient
    def pause(self, *payloads: object) -> None:
        """Pause the job."""
        self._obey(lambda: control.pause(self._state, orders.read(orders.Pause, contents(payloads)), workflow.now()))

    @workflow.signal(description='Go on: nothing, or {"who": "..."}')
    @patient
    def resume(self, *payloads: object) -> None:
        """Resume the job."""
        self._obey(lambda: control.resume(self._state, orders.read(orders.Resume, contents(payloads)), workflow.now()))

    @workflow.signal(
        description='Limit the whole job: 500, null or "off" to lift, or '
        '{"max_docs_per_second": 500, "for": "2h", "who": "...", "why": "..."}'
    )
    @patient
    def throttle(self, *payloads: object) -> None:
        """Limit the job, or lift the limit."""
        self._obey(
            lambda: control.throttle(self._state, orders.read(orders.Throttle, contents(payloads)), workflow.now())
        )

    @workflow.signal(description='Move the deadline: "2h", or {"by": "2h", "who": "..."}')
    @patient
    def extend_deadline(self, *payloads: object) -> None:
        """Give the job more time."""
        self._obey(lambda: control.extend_deadline(self._state, orders.read(orders.ExtendDeadline, contents(payloads))))

    @workflow.signal(dynamic=True)
    def unknown_signal(self, name: str, _payloads: Sequence[RawValue]) -> None:
        """Leave a warning that names the signal which was probably meant."""
        self._state.warn(orders.unknown(name))
        self._changed()

    def _obey(self, order: Callable[[], None]) -> None:
        try:
            order()
        except OperatorError as error:
            self._state.warn(str(error))
        self._changed()

    # --- updates: the same orders, for callers that want an answer -----------------------------------

    @workflow.update(description="Pause, and answer when nothing of the job can commit any more")
    @patient
    async def pause_and_wait(self, *payloads: object) -> Answer:
        """Return when the job is paused, with the proof; or what happened instead."""
        self.pause(*payloads)
        await self._until(lambda: self._state.status not in {Status.PLANNING, Status.PAUSING})
        return self._answer("nothing of this job can commit" if self._state.status is Status.PAUSED else "")

    @pause_and_wait.validator
    @patient
    def _may_pause(self, *payloads: object) -> None:
        _validate(lambda: orders.read(orders.Pause, contents(payloads)))
        _validate(lambda: control.check_pause(self._state))

    @workflow.update(description="Resume, and answer when slices may run again")
    @patient
    async def resume_and_wait(self, *payloads: object) -> Answer:
        """Return when slices may run again; or what happened instead."""
        self.resume(*payloads)
        await self._until(lambda: self._state.status is not Status.PLANNING and self._is_settled)
        return self._answer()

    @resume_and_wait.validator
    @patient
    def _may_resume(self, *payloads: object) -> None:
        _validate(lambda: orders.read(orders.Resume, contents(payloads)))
        _validate(lambda: control.check_resume(self._state))

    @workflow.update(description="Throttle, and answer when every slice will see the limit before its next page")
    @patient
    async def throttle_and_wait(self, *payloads: object) -> Answer:
        """Return when the limit is in the ledger; or what happened instead."""
        self.throttle(*payloads)
        await self._until(lambda: self._state.status is not Status.PLANNING and self._is_settled)
        return self._answer()

    @throttle_and_wait.validator
    @patient
    def _may_throttle(self, *payloads: object) -> None:
        _validate(lambda: orders.read(orders.Throttle, contents(payloads)))
        _validate(lambda: control.check_throttle(self._state))

    @property
    def _is_settled(self) -> bool:
        """Whether the ledger knows what is wanted, or nothing more can be wanted of it."""
        return self._is_published or self._state.status in ENDED

    def _answer(self, what: str = "") -> Answer:
        why = what or details.reason(self._state)
        return Answer(
            status=self._state.status,
            message=f"{self._state.spec.job} is {self._state.status}" + (f": {why}" if why else ""),
            epoch=self._state.directive.epoch,
            max_docs_per_second=self._state.directive.max_docs_per_second,
            proof=self._state.proof,
        )


async def _tell_ledger(
    port: Callable[[LedgerPort, RequestT], Coroutine[Any, Any, ResponseT]], request: RequestT, summary: str
) -> ResponseT:
    """Return what this short activity answers, however long the world takes to be ready for it."""
    return await workflow.execute_activity_method(
        port, request, start_to_close_timeout=timedelta(seconds=60), retry_policy=_PATIENCE, summary=summary
    )


def _validate(check: Callable[[], object]) -> None:
    """Raise what a caller of an update is shown, if *check* refuses."""
    try:
        check()
    except OperatorError as error:
        raise ApplicationError(str(error), type=OperatorError.type_name, non_retryable=True) from None


def _cause(error: BaseException) -> tuple[str, str]:
    """Return the type and the sentence of what made an activity fail."""
    cause = error.cause if isinstance(error, ActivityError) and error.cause else error
    if isinstance(cause, ApplicationError):
        return cause.type or "ApplicationError", cause.message
    return type(cause).__name__, str(cause)
