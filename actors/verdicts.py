"""The verdicts of one run: which steps wait for theirs, and what a verdict does.

A critical step waits: its dependants start only behind a verdict, and one that is refuted, or that cannot be had in
time, has failed (closed, not open). All others are looked at beside the run by a few tasks; what they find is in before
the answer, within a bound. Without a verifier the check of the result against the tool's declared output is the
verdict, and costs no message.

A verdict of less confidence than the threshold is a doubt. By configuration it marks the outcome, or counts as refuted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import attrs
import trio

from trouper.runtime import Actor, ActorError, BudgetExceeded, LLMError, Ref, Step

from .doubts import said_by
from .endings import skipped_behind
from .job import Job
from .outcome import DECLARED, ErrorInfo, StepOutcome, StepStatus, Verdict, VerdictKind
from .records import ApprovalGiven, StepEnded, VerdictGiven
from .run_place import Verification
from .runlog import RunLog
from .tool import Tool
from .verifier import BLURRED, question_on

if TYPE_CHECKING:
    from .plan_run import PlanRun

log: logging.Logger = logging.getLogger("trouper.executor")

AT_ONCE = 8
"""Steps of one run that are looked at side by side."""

UNVERIFIABLE = Verdict(verdict=VerdictKind.UNVERIFIABLE)
_NOT_IN_TIME = Verdict(verdict=VerdictKind.UNVERIFIABLE, problems=("the verifier could not be asked in time",))


def doubtful(verdict: Verdict, threshold: float) -> bool:
    """Whether something was found, but with less confidence than is asked for."""
    return verdict.verdict is not VerdictKind.UNVERIFIABLE and verdict.confidence < threshold


def refutes(verdict: Verdict, settings: Verification) -> bool:
    """Whether the step has failed by this verdict."""
    if doubtful(verdict, settings.threshold):
        return settings.below_threshold == "replan"
    return verdict.verdict is VerdictKind.REFUTED


def refuted(outcome: StepOutcome, verdict: Verdict) -> StepOutcome:
    """The outcome of a step that was refuted; its result is kept to look at."""
    said = "; ".join(verdict.problems) or f"with a confidence of {verdict.confidence:.2g} only"
    error = ErrorInfo("refuted", f"the verifier refuted step {outcome.id}: {said}")
    return attrs.evolve(outcome, status=StepStatus.FAILED, error=error)


def unanswered(verdict: Verdict) -> bool:
    """Whether there was something to check, and it could not be: the verifier has no answer.

    Where it may not see what it would have to see, it is as if there were nothing to check.
    """
    return verdict.verdict is VerdictKind.UNVERIFIABLE and verdict.problems[:1] not in {(), (BLURRED,)}


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict for a step of several parts: refuted by any, unanswered with any, as sure as the least sure."""
    verdicts = tuple(verdicts)
    found = [v for v in verdicts if v.verdict is not VerdictKind.UNVERIFIABLE]
    wrong = [v for v in found if v.verdict is VerdictKind.REFUTED]
    if not wrong and (problems := [problem for v in verdicts if unanswered(v) for problem in v.problems]):
        return Verdict(verdict=VerdictKind.UNVERIFIABLE, problems=tuple(dict.fromkeys(problems)))
    if not found:
        return UNVERIFIABLE
    return Verdict(
        verdict=VerdictKind.REFUTED if wrong else VerdictKind.OK,
        confidence=max(v.confidence for v in wrong) if wrong else min(v.confidence for v in found),
        checks=tuple(dict.fromkeys(check for v in found for check in v.checks)),
        problems=tuple(problem for v in wrong for problem in v.problems),
    )


class Verdicts:
    """The verdicts of one run."""

    def __init__(self, run: PlanRun, run_log: RunLog) -> None:
        self._run = run
        self._log = run_log
        self._settings = run.place.verification
        self._verifier = run.place.verifier
        self.beside: bool = self._verifier is not None
        """There is a verifier to be asked beside the run."""
        self.awaited: bool = self.beside and not self._settings.background
        """Every step waits for its verdict."""
        self._todo: deque[StepOutcome] = deque()
        self._tasks = 0
        self._nursery: trio.Nursery | None = None
        self._scopes: set[trio.CancelScope] = set()
        self.refuted: set[int] = set()
        """Steps that had succeeded, and were refuted beside the run: what has not begun must not count on them."""
        self._sound: set[int] = set()
        """Steps that stand on none of these, as long as there are `_sound_without` of them."""
        self._sound_without: int = 0
        self._inner: list[Verdicts] = []

    @asynccontextmanager
    async def open(self, outer: Verdicts | None) -> AsyncIterator[None]:
        """While the steps run; leaving it waits for the verdicts that are out, within the bound of one.

        Those of a sub-plan hold up nothing but the answer either: the outermost run waits for them.
        """
        if outer is not None:
            self._nursery = outer._nursery
            outer._inner.append(self)
            yield
            return
        async with trio.open_nursery() as self._nursery:
            yield
            self._nursery.cancel_scope.deadline = min(
                self._nursery.cancel_scope.deadline, self._run.clock() + self._settings.timeout
            )
        for verdicts in (self, *self._inner):
            verdicts._give_up()

    def _give_up(self) -> None:
        """The time was over."""
        for outcome in self._todo:
            self._note(outcome.id, _NOT_IN_TIME)
        self._todo.clear()

    # ------------------------------------------------------------ at once
    def declared(self, job: Job, outcome: StepOutcome) -> StepOutcome:
        """Whether the result is what its tool declares; if not, the step has failed at once.

        Without a verifier this is the verdict; with one, the verifier looks at more.
        """
        if job.step.for_each is not None:
            return self._declared_items(outcome)
        tool = self._tool(outcome) if job.tool is not None or outcome.fallback else None
        problems = [] if tool is None or tool.gives is None else tool.check_output(outcome.result)
        if problems:
            return self._misdeclared(outcome, Verdict.of_declaration(problems, declared=True))
        if self.beside:
            self._log.verdicts.pop(outcome.id, None)  # of a call that an earlier life of the program did not end
        else:
            self._log.verdicts[outcome.id] = UNVERIFIABLE if tool is None or tool.gives is None else DECLARED
        return outcome

    def _declared_items(self, outcome: StepOutcome) -> StepOutcome:
        verdict = together(
            self._declared(part) for _, part in self._parts(outcome) if part.action in self._run.place.tools
        )
        if verdict.verdict is VerdictKind.REFUTED:
            return self._misdeclared(outcome, verdict)
        if not self.beside:
            self._note(outcome.id, verdict)
        return outcome

    def _misdeclared(self, outcome: StepOutcome, verdict: Verdict) -> StepOutcome:
        self._note(outcome.id, verdict)
        said = f"{outcome.action} gave something else than it declares: {'; '.join(verdict.problems)}"
        return attrs.evolve(outcome, status=StepStatus.FAILED, error=ErrorInfo("refuted", said))

    async def judged(self, job: Job, outcome: StepOutcome) -> StepOutcome:
        """The outcome after its verdict: a critical step without one has failed (closed, not open)."""
        began = self._run.clock()
        verdict = await self._ask(outcome)
        job.waited("verifier", self._run.clock() - began)
        outcome = attrs.evolve(outcome, waits=job.waits or {}, ended=self._run.tick())
        verdict = verdict if verdict is not None else _NOT_IN_TIME
        self._note(outcome.id, verdict)
        if unanswered(verdict) and job.step.critical is True:
            why = f"no verdict could be had on step {outcome.id}, which is critical: {'; '.join(verdict.problems)}"
            return attrs.evolve(outcome, status=StepStatus.FAILED, error=ErrorInfo("unverified", why))
        return refuted(outcome, verdict) if refutes(verdict, self._settings) else outcome

    def settled(self, step: int, said: ApprovalGiven) -> None:
        """Somebody has said that the step has happened: there is nothing to be looked at but that."""
        self._note(step, Verdict(verdict=VerdictKind.OK, confidence=1.0, checks=(said_by(said),)))

    # ------------------------------------------------------------ behind
    def behind(self, job: Job, outcome: StepOutcome) -> None:
        """Look at a step beside the run."""
        if job.tool is None:
            return  # a sub-plan: its own steps have verdicts of their own
        self._todo.append(outcome)
        if self._tasks < AT_ONCE and self._nursery is not None:
            self._tasks += 1
            self._nursery.start_soon(self._work)

    async def _work(self) -> None:
        todo = self._todo
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                while todo:
                    outcome = todo.popleft()
                    try:
                        verdict = await self._ask(outcome)
                    except BaseException:
                        todo.appendleft(outcome)  # it has no verdict yet
                        raise
                    if todo is not self._todo:
                        return  # it was taken back while its verdict was on its way
                    self._believe(outcome, verdict)
            finally:
                self._scopes.discard(scope)
                if todo is self._todo:
                    self._tasks -= 1

    def start_over(self) -> None:
        """The steps are taken back, and their ids may be those of others: whatever is found of them is not heard."""
        for verdicts in (self, *self._inner):
            verdicts._todo, verdicts._tasks = deque(), 0
            verdicts.refuted.clear()
            for scope in tuple(verdicts._scopes):
                scope.cancel()
        self._inner.clear()

    def _believe(self, outcome: StepOutcome, verdict: Verdict | None) -> None:
        if verdict is not None and refutes(verdict, self._settings) and self._run.mine:
            # Before the verdict: if the journal ends between the two, the step must not be taken for a good one.
            self.correct(refuted(outcome, verdict))
        self._note(outcome.id, verdict if verdict is not None else _NOT_IN_TIME)

    def correct(self, wrong: StepOutcome) -> None:
        """A step has failed after all, and with it the steps whose sub-plans it is in."""
        run, scribe = self._run, self._run.place.scribe
        scribe.write(
            StepEnded(
                at=run.clock(), actor=scribe.name, run_id=self._log.run_id, outcome=wrong, inside=self._log.inside
            )
        )
        self._log.correct(wrong)
        self.refuted.add(wrong.id)
        if run.outer is not None:
            run.outer.verdicts.refuted_inside(self._log.inside[len(run.outer.verdicts._log.inside) :], wrong)

    def lost(self, step: Step) -> StepOutcome | None:
        """What a step that is about to begin comes to if one that it cannot do without was refuted meanwhile."""
        if not self.refuted or step.lenient:
            return None
        cause = self._stands_on(step)
        return skipped_behind(step, self._log.outcomes[cause]) if cause is not None else None

    def _stands_on(self, step: Step) -> int | None:
        """The refuted step that it needs, itself or through others that had begun before the verdict."""
        if self._sound_without != len(self.refuted):
            self._sound_without = len(self.refuted)
            self._sound.clear()
        seen: set[int] = set()
        todo = [step]
        while todo:
            needs = todo.pop().needs
            if causes := self.refuted & needs:
                return min(causes)
            for need in needs - seen - self._sound:
                seen.add(need)
                with suppress(KeyError):  # it had finished in an earlier plan
                    other = self._run.jobs[need].step
                    if not other.lenient:
                        todo.append(other)
        self._sound |= seen
        return None

    def refuted_inside(self, where: tuple[int, ...], wrong: StepOutcome) -> None:
        """A step inside one of ours was refuted; if ours has not ended yet it will find that out itself."""
        known = self._log.outcomes.get(where[0])
        if known is None or known.status is not StepStatus.OK:
            return
        error = ErrorInfo("refuted", f"step {wrong.id} inside it: {wrong.error.message if wrong.error else 'refuted'}")
        if len(where) == 1:
            parts: dict[str, object] = {"steps": {**known.steps, wrong.id: wrong}}
        else:
            item = known.items[where[1]]
            again = attrs.evolve(item, status=StepStatus.FAILED, error=error, steps={**item.steps, wrong.id: wrong})
            parts = {"items": (*known.items[: where[1]], again, *known.items[where[1] + 1 :])}
        self.correct(attrs.evolve(known, status=StepStatus.FAILED, error=error, **parts))  # type: ignore[arg-type]  # two of its own fields

    # ------------------------------------------------------------ asking
    def _tool(self, outcome: StepOutcome) -> Tool:
        return self._run.place.tools[outcome.action]

    async def _ask(self, outcome: StepOutcome) -> Verdict | None:
        """The verifier's word, None if it cannot be had in time. Elements are asked about side by side."""
        parts = self._parts(outcome)
        if len(parts) == 1:
            return await self._of_part(outcome, *parts[0])
        found: list[Verdict | None] = [UNVERIFIABLE] * len(parts)
        todo = iter(range(len(parts)))

        async def some() -> None:
            for place in todo:
                found[place] = verdict = await self._of_part(outcome, *parts[place])
                if verdict is None:
                    nursery.cancel_scope.cancel()  # one that cannot be had is enough

        async with trio.open_nursery() as nursery:
            for _ in range(min(AT_ONCE, len(parts))):
                nursery.start_soon(some)
        verdicts = [verdict for verdict in found if verdict is not None]
        return together(verdicts) if len(verdicts) == len(found) else None

    async def _of_part(self, outcome: StepOutcome, n: int | None, part: StepOutcome) -> Verdict | None:
        if part.steps:  # a sub-plan: its own steps have verdicts
            inner = self._log.child(outcome.id)
            return together((inner if n is None else inner.child(n)).verdicts.values())
        if self._verifier is None:
            return self._declared(part)
        return await self._word(self._verifier, part)

    def _parts(self, outcome: StepOutcome) -> list[tuple[int | None, StepOutcome]]:
        """What there is to look at: the step itself, or those of its elements that succeeded."""
        if outcome.parameters is not None:
            return [(None, outcome)]
        return [(n, item) for n, item in enumerate(outcome.items) if item.status is StepStatus.OK]

    async def _word(self, verifier: Ref[Actor], part: StepOutcome) -> Verdict | None:
        question = question_on(
            self._tool(part), part.parameters or _NOTHING, part.result, known=self._run.place.secrets
        )
        try:
            return await verifier.ask(question, timeout=self._settings.timeout)
        except (ActorError, LLMError, BudgetExceeded) as error:
            log.warning("[VERIFIER] no verdict on step %d (%s): %s", part.id, part.action, error)
            return None

    def _declared(self, part: StepOutcome) -> Verdict:
        tool = self._tool(part)
        return Verdict.of_declaration(tool.check_output(part.result), declared=tool.gives is not None)

    def _note(self, step: int, verdict: Verdict) -> None:
        run, scribe = self._run, self._run.place.scribe
        if not run.mine:
            return
        if scribe.active:
            scribe.write(
                VerdictGiven(
                    at=run.clock(),
                    actor=scribe.name,
                    run_id=self._log.run_id,
                    step=step,
                    verdict=verdict,
                    inside=self._log.inside,
                )
            )
        self._log.verdicts[step] = verdict


_NOTHING: Mapping[str, object] = {}
