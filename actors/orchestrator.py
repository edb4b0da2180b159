"""The orchestrator: who is asked to run a goal, a plan, or a run that was suspended.

It owns the scope of each run: the deadline, the budget, the log, what is told about the end, and the answers of people.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Mapping, Sequence

import attrs
import trio

from trouper.runtime import (
    Actor,
    ActorError,
    Budget,
    GoalRefused,
    Journal,
    Ledger,
    LLMError,
    MemoryFailed,
    NotWaiting,
    OnCancel,
    PlanError,
    Record,
    RunError,
    Spending,
    UnknownRun,
    carry,
    handler,
    parse_plan,
)

from .doubts import BY_TOOL, begun_key, doubt_about, reconciled
from .goal_run import GoalRun, RunSettings
from .llm import GetUsage, GetWaits
from .memory import Remember
from .memory_data import EPISODE
from .messages import AnswerGiven, Approve, Execute, KeepEpisode, ResumeRun, RunPlan, RunText, Settle
from .model_messages import UNTIL
from .outcome import SUSPENDED, ErrorInfo, Outcome, Question, RunStatus
from .protocols import Usage
from .records import ApprovalAsked, ApprovalGiven, BudgetLow, RunEnded, RunResumed, RunStarted, StepEnded, StepStarted
from .replay import replay
from .run_place import Scribe
from .runlog import RunLog, began_at
from .tool import Tool

log: logging.Logger = logging.getLogger("trouper.orchestrator")

MOST_GOAL = 20_000
"""Characters a goal may have."""


@attrs.frozen(kw_only=True)
class MemoryUpdates:
    """Whether a finished run is remembered behind the answer (`background`) or before it."""

    background: bool = True


def check_goal(goal: str) -> str:
    """The goal without white space around it; raises `GoalRefused` if there is nothing to do, or far too much."""
    stripped = goal.strip()
    if not stripped:
        raise GoalRefused("the goal is empty: say what you want done, in one sentence")
    if len(stripped) > MOST_GOAL:
        raise GoalRefused(
            f"the goal has {len(stripped):,} characters, at most {MOST_GOAL:,} are taken. "
            "Put the material into a file and name the file in the goal."
        )
    return stripped


class Orchestrator(Actor):
    """Answers `Execute`, `RunPlan`, `RunText`, `ResumeRun` and `Approve`."""

    def __init__(
        self,
        tools: Mapping[str, Tool],
        *,
        memory_updates: MemoryUpdates,
        runs: RunSettings,
        journal: Journal,
        budget: Budget | None = None,
        warn_at: float = 0.8,
        secrets: Collection[str] = (),
    ) -> None:
        self._tools = tools
        self._memory_updates = memory_updates
        self._settings = runs
        self._journal = journal
        self._budget = budget if budget is not None else Budget()
        self._warn_at = warn_at
        self._secrets = secrets
        self._live: dict[str, GoalRun] = {}

    async def on_start(self) -> None:
        """Find those it asks."""
        self._planner = self.ctx.peer("planner")
        self._executor = self.ctx.peer("executor")
        self._memory = self.ctx.peer("memory")
        self._llm = self.ctx.peer("llm")
        self._scribe = Scribe(self.ctx, self._journal)

    # ------------------------------------------------------------ what it is asked
    @handler(concurrent=64, raises=(GoalRefused, PlanError))
    async def execute(self, message: Execute) -> Outcome:
        """Plan and run a goal. Once planning has begun this gives an outcome, whatever happens.

        Raises:
            GoalRefused: the goal is not one, or the rules do not understand it.
        """
        goal = check_goal(message.goal)
        known = await self._same(message.idempotency_key) if message.idempotency_key is not None else None
        if known is not None:
            return known
        run_log = self._begin(message.run_id, goal, message.idempotency_key)
        outcome = await self._run(run_log, goal, message, context=message.context)
        await self._remember(goal, outcome)
        return outcome

    @handler(concurrent=64, raises=(PlanError,))
    async def run_plan(self, message: RunPlan) -> Outcome:
        """Run a plan that is there already."""
        run_log = self._begin(message.run_id, message.plan.goal)
        return await self._run(run_log, message.plan.goal, message)

    @handler(concurrent=64, raises=(PlanError,))
    async def run_text(self, message: RunText) -> Outcome:
        """Run a plan while its text arrives.

        Raises:
            PlanError: the text is no plan; what ran of it was cancelled.
        """
        run_log = self._begin(message.run_id, None)
        return await self._run(run_log, None, message)

    @handler(concurrent=64, raises=(RunError, PlanError))
    async def resume(self, message: ResumeRun) -> Outcome:
        """Go on with a run that was suspended, or cut off in the middle. One that has ended gives its outcome again.

        Raises:
            UnknownRun: there is none to go on with.
            NotWaiting: it is at work, or never had a plan.
            PlanError: its plan needs tools that are not here.
        """
        records = await self._find(message.run_id)
        run_id = records[0].run_id
        if run_id in self._live:
            raise NotWaiting(f"the run {run_id!r} is at work; answer its questions, or wait for it")
        last = records[-1]
        if isinstance(last, RunEnded) and last.outcome.status not in SUSPENDED:
            return last.outcome
        run_log = replay(records)
        if run_log.plan is None:
            raise NotWaiting(f"the run {run_id!r} never had a plan, so there is nothing to go on with")
        signatures = {name: tool.signature() for name, tool in self._tools.items()}
        parse_plan(run_log.plan.as_json(), catalogue=signatures, finished=run_log.finished_before)
        # The clock of another program began anywhere: only what is counted from the beginning of the run compares.
        run_log.resumed = True
        now, elapsed = trio.current_time(), run_log.elapsed
        run_log.began = began_at(now, elapsed)
        self._scribe.write(RunResumed(at=now, actor=self.ctx.name, run_id=run_id, elapsed=elapsed))
        await self._look_into_doubts(run_log)
        goal = next((r.goal for r in records if isinstance(r, RunStarted)), None)
        return await self._run(run_log, goal, message, spent=records)

    @handler(concurrent=64, raises=(RunError,))
    async def approve(self, message: Approve) -> None:
        """Take a person's answer; the step goes on at once if its run is here.

        Raises:
            UnknownRun: the journal has no such run.
            NotWaiting: nobody asked about that step.
        """
        live = self._live.get(message.run_id)
        run_log = live.log if live is not None else await self._suspended(message.run_id)
        question = _question_meant(run_log, message.step)
        answer = ApprovalGiven(
            at=trio.current_time(),
            actor=self.ctx.name,
            run_id=message.run_id,
            step=question.step,
            inside=question.inside,
            ok=message.ok,
            note=message.note,
            result=message.result,
        )
        run_log.answer(answer)
        self._scribe.write(answer)
        await self._journal.sync()
        if live is not None:
            await self._executor.tell(AnswerGiven(run_id=message.run_id, step=question.step, inside=question.inside))

    async def _look_into_doubts(self, run_log: RunLog) -> None:
        """What was in hand with a ONCE tool when the program ended: the tool says what became of it, or we ask."""
        for place, step in run_log.cut_off_once():
            begun = place.begun(step)
            assert begun is not None  # noqa: S101 - that is how it was found
            if step not in place.doubts:
                self._doubt(place, step)
            said = await reconciled(self._tools.get(begun.action), begun.parameters, begun_key(place, step))
            if said is not None:
                done, result = said
                answer = ApprovalGiven(
                    at=trio.current_time(),
                    actor=self.ctx.name,
                    run_id=run_log.run_id,
                    step=step,
                    inside=place.inside,
                    ok=done,
                    note=BY_TOOL,
                    result=result,
                )
                run_log.answer(answer)
                self._scribe.write(answer)

    def _doubt(self, place: RunLog, step: int) -> None:
        question = doubt_about(place, step, known=self._secrets)
        self._scribe.write(
            ApprovalAsked(
                at=trio.current_time(),
                actor=self.ctx.name,
                run_id=place.run_id,
                step=step,
                question=question.question,
                inside=place.inside,
                doubt=True,
            )
        )
        place.doubt(question)

    async def _suspended(self, run_id: str) -> RunLog:
        records = await self._find(run_id)
        last = records[-1]
        if isinstance(last, RunEnded) and last.outcome.status not in SUSPENDED:
            raise NotWaiting(f"the run {run_id!r} has ended as {last.outcome.status.value}; it asks nothing any more")
        run_log = replay(records)
        for place, step in run_log.cut_off_once():
            if step not in place.doubts:  # it was killed, and nobody has gone on with it yet
                self._doubt(place, step)
        return run_log

    async def _find(self, run_id: str | None) -> tuple[Record, ...]:
        """The records of a run; of the last one that is not at an end if none is named."""
        if run_id is not None:
            records = tuple(await self._journal.read(run_id))
            if not records:
                raise UnknownRun(f"the journal has no run {run_id!r}; `trouper runs` lists what it has")
            return records
        for known in reversed(await self._journal.runs()):
            records = tuple(await self._journal.read(known))
            last = records[-1] if records else None
            ended = isinstance(last, RunEnded) and last.outcome.status not in SUSPENDED
            if last is not None and not ended and known not in self._live:
                return records
        raise UnknownRun("the journal has no run that could be gone on with")

    # ------------------------------------------------------------ one run
    async def _same(self, key: str) -> Outcome | None:
        """What the run with this key has come to; one that is at work is waited for, within the asker's deadline."""
        for run_id in reversed(await self._journal.runs()):
            records = await self._journal.read(run_id)
            if not records or not isinstance(records[0], RunStarted) or records[0].idempotency_key != key:
                continue
            live = self._live.get(run_id)
            if live is not None:
                await live.over.wait()
                records = await self._journal.read(run_id)
            last = records[-1]
            if isinstance(last, RunEnded):
                return last.outcome
        return None

    def _begin(self, run_id: str, goal: str | None, key: str | None = None) -> RunLog:
        began = trio.current_time()
        self._scribe.write(RunStarted(at=began, actor=self.ctx.name, run_id=run_id, goal=goal, idempotency_key=key))
        return RunLog(run_id, None, began=began)

    async def _run(
        self,
        run_log: RunLog,
        goal: str | None,
        message: Execute | RunPlan | RunText | ResumeRun,
        context: Mapping[str, object] | None = None,
        spent: Sequence[Record] = (),
    ) -> Outcome:
        budget = self._budget.tightened(message.budget) if message.budget is not None else self._budget
        ledger = Ledger(budget, warn_at=self._warn_at, on_low=functools.partial(self._low, run_log.run_id))
        _charge(ledger, spent)
        given = isinstance(message, RunPlan | RunText) or (isinstance(message, ResumeRun) and goal is None)
        run = GoalRun(
            run_log,
            goal,
            planner=None if given else self._planner,
            executor=self._executor,
            scribe=self._scribe,
            ledger=ledger,
            settings=self._settings,
            context=context,
        )
        if isinstance(message, RunPlan):
            run.given(message.plan)
        self._live[run_log.run_id] = run
        outcome: Outcome | None = None
        try:
            with carry(budget=ledger):
                failure = await self._in_time(run, message, ledger)
                outcome = run.outcome(failure)
                if outcome.status is RunStatus.FAILED:
                    await run.undo()
                    outcome = run.outcome(failure)
            usage, waits = await self._counts()
            outcome = attrs.evolve(outcome, usage=usage, waits={**outcome.waits, **waits})
        except (GoalRefused, PlanError) as error:
            outcome = attrs.evolve(run.outcome(ErrorInfo.of(error)), status=RunStatus.FAILED)
            raise
        except trio.Cancelled:
            if outcome is None:  # else it had ended before
                why = ErrorInfo("cancelled", "the run was cancelled")
                run.cut_off(why, why.kind)
                outcome = attrs.evolve(run.outcome(why), status=RunStatus.CANCELLED)
            raise
        finally:
            del self._live[run_log.run_id]
            if outcome is not None:
                self._write_end(outcome)
            run.over.set()
        await self._journal.sync()
        return outcome

    async def _in_time(
        self, run: GoalRun, message: Execute | RunPlan | RunText | ResumeRun, ledger: Ledger
    ) -> ErrorInfo | None:
        """Run it within its deadline and the seconds of its budget. Gives why it could not be finished."""
        now = trio.current_time()
        deadline, paid = now + message.timeout, ledger.deadline(now)
        run.log.deadline = min(deadline, paid)
        with carry(**{UNTIL: run.log.deadline}), trio.CancelScope(deadline=run.log.deadline) as scope:
            if isinstance(message, RunText):
                signatures = {name: tool.signature() for name, tool in self._tools.items()}
                return await run.read(message.chunks, signatures)
            return await run.run()
        assert scope.cancelled_caught  # noqa: S101 - there is no other way out of the block
        if paid < deadline:
            error = ErrorInfo("budget", f"the budget of {ledger.budget.seconds:g} s was spent; raise `budget.seconds`")
        else:
            error = ErrorInfo(
                "deadline", f"the run did not end within {message.timeout:g} s; raise --timeout or `run.timeout`"
            )
        run.cut_off(error, error.kind)
        return error

    def _low(self, run_id: str, spending: Spending) -> None:
        """A limit is nearly reached: from now on only what is necessary is still done."""
        log.warning(
            "[ORCHESTRATOR] run %s: %g of %g %s of the %s are spent, only what is necessary is still done",
            run_id,
            spending.used,
            spending.limit,
            spending.what,
            spending.level,
        )
        self._scribe.tell(
            BudgetLow(
                at=trio.current_time(),
                actor=self.ctx.name,
                run_id=run_id,
                what=spending.what,
                used=spending.used,
                limit=spending.limit or 0.0,
            )
        )

    def _write_end(self, outcome: Outcome) -> None:
        log.info("[ORCHESTRATOR] run %s: %s", outcome.run_id, outcome.status.value)
        self._scribe.write(
            RunEnded(at=trio.current_time(), actor=self.ctx.name, run_id=outcome.run_id, outcome=outcome)
        )

    async def _counts(self) -> tuple[Usage, Mapping[str, float]]:
        """What the models have counted for this run, and what waiting for them cost: their calls carry its trace."""
        try:
            usage = await self._llm.ask(GetUsage(trace=self.ctx.trace), timeout=5)
            waits = await self._llm.ask(GetWaits(trace=self.ctx.trace), timeout=5)
        except ActorError as error:
            log.warning("[ORCHESTRATOR] the usage of trace %s is unknown: %s", self.ctx.trace, error)
            return Usage(), {}
        return usage, {what: seconds for what, seconds in waits.items() if seconds > 0}

    # ------------------------------------------------------------ remembering
    async def _remember(self, goal: str, outcome: Outcome) -> None:
        """Keep what was done. Questions are never stored: they are not facts."""
        if not outcome.ok or outcome.answer is None or goal.rstrip().endswith("?"):
            return
        episode = KeepEpisode(text=f"{goal} -> {outcome.answer[:500]}", run_id=outcome.run_id)
        if not self._memory_updates.background:
            await self._store(episode)
            return
        try:
            self.ctx.ref.tell_nowait(episode)
        except ActorError as error:
            log.warning("[ORCHESTRATOR] the run was not remembered: %s", error)

    @handler(concurrent=4, on_cancel=OnCancel.FINISH)
    async def keep(self, message: KeepEpisode) -> None:
        """Store an episode; a memory that fails is reported and costs nothing else."""
        await self._store(message)

    async def _store(self, episode: KeepEpisode) -> None:
        meta = {"kind": EPISODE, "run_id": episode.run_id}
        try:
            await self._memory.ask(Remember(texts=(episode.text,), meta=meta))
        except (ActorError, LLMError, MemoryFailed) as error:
            log.warning("[ORCHESTRATOR] the run %s was not remembered: %s", episode.run_id, error)

    @handler
    async def settle(self, message: Settle) -> None:
        """Handled alone, so only after every concurrent handler before it has ended."""


def _charge(ledger: Ledger, spent: Sequence[Record]) -> None:
    """What a run had spent before it was suspended. A person's time to think costs nothing."""
    usage = next((record.outcome.usage for record in reversed(spent) if isinstance(record, RunEnded)), Usage())
    ledger.charge("tool_calls", sum(isinstance(record, StepStarted) for record in spent))
    ledger.charge("steps", sum(isinstance(r, StepEnded) and r.outcome.started is not None for r in spent))
    ledger.charge("tokens", usage.total_tokens)
    ledger.charge("cost", usage.cost)
    ledger.charge("model_calls", usage.calls)


def _question_meant(run_log: RunLog, step: int | str) -> Question:
    """The open question about a step, named by its id or its address.

    Raises:
        NotWaiting: there is none, or there are several of that id.
    """
    questions = run_log.open_questions()
    named = [question for question in questions if question.address == str(step)]
    named = named or [question for question in questions if str(question.step) == str(step)]
    if len(named) == 1:
        return named[0]
    told = ", ".join(question.address for question in named or questions)
    if named:
        raise NotWaiting(f"the run {run_log.run_id!r} asks about several steps {step}: name one of {told}")
    asked = f"it asks about step {told}" if told else "it asks nothing"
    raise NotWaiting(f"the run {run_log.run_id!r} does not ask about step {step}; {asked}")
