"""Questions to a person: asked when a step is ready, answered by step id, at any time.

A step that waits for a person holds no slot and no task; what depends on it waits, everything else runs on. A plan run
in which nothing else is left to do *waits*: a sub-plan says so to the run that it is in, the outermost run then waits
for a bounded time and is suspended. What was asked is in the log, so whoever resumes the run finds the same questions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trouper.runtime import Step, TrouperError

from .job import Job
from .outcome import ErrorInfo, Question, StepStatus
from .records import ApprovalAsked
from .runlog import RunLog
from .secrets import redact

if TYPE_CHECKING:
    from .plan_run import PlanRun

MOST_SHOWN = 400
"""Characters of the parameters that a question shows."""


class Approvals:
    """The questions of one plan run."""

    def __init__(self, run: PlanRun, run_log: RunLog) -> None:
        self._run = run
        self._log = run_log
        self._asked: dict[int, Job] = {}

    @property
    def open(self) -> bool:
        """Whether a person is asked anything."""
        return bool(self._asked)

    def passed(self, job: Job) -> bool:
        """Whether the step may go on now. If not, it has been asked about, or has ended: declined, or not to be run."""
        step = job.step
        answer = self._log.answers.get(step.id)
        if answer is None:
            try:
                self._ask(job)
            except TrouperError as error:  # nobody is asked about what cannot be done
                self._run.end_at_once(job, StepStatus.FAILED, error=ErrorInfo.of(error))
            return False
        if answer.ok:
            return True
        note = f": {answer.note}" if answer.note else ""
        self._run.end_at_once(
            job, StepStatus.FAILED, error=ErrorInfo("declined", f"step {step.id} ({step.action}) was declined{note}")
        )
        return False

    def sure(self, job: Job) -> bool:
        """Whether nothing of it is in doubt from an earlier life of the program; if so, a person is waited for."""
        if not self._log.undecided(job.step.id):
            return True
        self._asked[job.step.id] = job
        return False

    def _ask(self, job: Job) -> None:
        step = job.step.id
        if step in self._log.questions:  # asked before the run was suspended
            self._asked[step] = job
            return
        question = Question(step=step, question=self._text(job.step), inside=self._log.inside)
        self._asked[step] = job
        scribe = self._run.place.scribe
        scribe.write(
            ApprovalAsked(
                at=self._run.clock(),
                actor=scribe.name,
                run_id=self._log.run_id,
                step=step,
                question=question.question,
                inside=self._log.inside,
            )
        )
        self._log.ask(question)

    def _text(self, step: Step) -> str:
        results, lenient = self._log.results, step.lenient
        try:
            if step.approval is not True:
                return str(step.templates["approval"].resolve(results, lenient=lenient))
            if step.for_each is None:
                parameters = self._shown(step.inputs.resolve(results, lenient=lenient))
                return f"May step {step.id} ({step.action}) run with {parameters}?"
            items = self._shown(step.for_each.elements(results, lenient=lenient))
        except TrouperError as error:
            if step.fallback is None:
                raise
            return f"May step {step.id} ({step.action}) run? What it would be given cannot be shown: {error}"
        return f"May step {step.id} ({step.action}) run with {self._shown(step.parameters)} for each of {items}?"

    def _shown(self, value: object) -> str:
        redacted = redact(value, known=self._run.place.secrets)
        shown = json.dumps(redacted, ensure_ascii=False, default=str)
        return shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}..."

    def answered(self, step: int) -> bool:
        """The log has an answer to the question about `step`; False if nobody here had asked."""
        job = self._asked.pop(step, None)
        if job is None:
            return False
        run = self._run
        job.waited("approval", run.tick() - job.ready)
        run.awake()
        run.admission.go_on(job)
        return True
