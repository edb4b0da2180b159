"""One level of a plan: its nursery, and the tasks in it that run its steps.

A step that never suspends must not cost a task. So the level's own task runs the steps of its queue one after another.
Only when one suspends are other tasks called that *stand by*: one or two, if so many steps wait, each of which does the
same; a thousand steps that sleep are all begun after ten turns of the scheduler. So there are about as many tasks as
steps are suspended at once. Of a step that is not plain (see `blueprint`) nobody knows where it will suspend: there
the stand-by is called before it begins.

Nor must a level cost a nursery as long as no step of it has suspended. So plain steps begin outside, in a task that has
a nursery which is nobody's yet (see `plain_steps`). The first step that suspends makes this nursery and this task those
of its level, by `adopt`: the scope in which the step waits is that of its level, and all further steps of the level run
inside.

A task runs suspended steps of its own level only, so cancelling the level's nursery cancels exactly the level's steps.

Every so many steps a task that has not suspended makes a checkpoint: counted and not timed, so that a run on a virtual
clock goes the same way each time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import trio
from trio.lowlevel import Abort, RaiseCancelT, current_task, reschedule, wait_task_rescheduled

from .blueprint import Recipe
from .job import Job

STRETCH = 32
"""Steps that one task runs without letting others run, if they do not suspend."""


class Level:
    """One level: `push` gives it a step that is ready, `run` is its own task, `leave` says that a step has ended.

    Args:
        number: Which one, from 0.
        steps: How many steps it has; `more` when there are more than was known.
        opened: Called with the level when a step needs its nursery: it starts `run`.
        work: Runs the steps of the level's queue until it is empty. It sets `between` to True while it is between two
            steps, or runs steps that do not suspend.
    """

    __slots__ = (
        "_lead",
        "_nursery",
        "_on_open",
        "_scope",
        "_work",
        "begun",
        "between",
        "called",
        "left",
        "number",
        "opened",
        "queue",
        "steps",
    )

    def __init__(
        self,
        number: int,
        steps: int,
        *,
        opened: Callable[[Level], None],
        work: Callable[[Level], Awaitable[None]],
    ) -> None:
        self.number: int = number
        self.steps: int = steps
        self.left: int = steps
        self.queue: deque[Job | Recipe] = deque()
        self.begun: bool = False
        """Its first step was ready and had a slot: whoever listens knows of it."""
        self.opened: bool = False
        """It has its nursery, or will have it after the next turn of the scheduler."""
        self.called: int = 0
        """Tasks that were called and have not had their turn yet."""
        self.between: bool = False
        """A task of this level is between two steps and will look at the queue itself."""
        self._on_open = opened
        self._work = work
        self._nursery: trio.Nursery | None = None
        self._scope: trio.CancelScope | None = None
        self._lead: trio.lowlevel.Task | None = None  # the level's own task, while it has nothing to do

    def push(self, item: Job | Recipe) -> None:
        """Take a step that is ready and has its slot; if it is the first, the level is opened."""
        self.queue.append(item)
        if not self.called and not self.between:
            self.call()

    def more(self, steps: int = 1) -> None:
        """The level has more steps than was known: the plan is still being written."""
        self.steps += steps
        self.left += steps

    def leave(self) -> None:
        """One of its steps has ended; with the last one the level closes."""
        self.left -= 1
        if self.left == 0:
            self.wake()

    def cancel(self) -> None:
        """Cancel every step of the level that runs; the level itself ends when they have."""
        if self._scope is not None:
            self._scope.cancel()

    def call(self) -> None:
        """See to it that one more task looks at the queue."""
        if self._lead is not None:
            self.called += 1
            self.wake()
        elif self._nursery is not None:
            self.called += 1
            self._nursery.start_soon(self._stand_by)
        elif not self.opened:
            self.called += 1
            self.opened = True
            self._on_open(self)

    def wake(self) -> None:
        """Let the level's own task look: a step was pushed, or the last one has ended."""
        if self._lead is not None:
            lead, self._lead = self._lead, None
            reschedule(lead)

    async def run(self) -> None:
        """The level's own task: ends when the last of its steps has. Cancelled: with all of its steps."""
        if self.steps == 1:
            # Nothing runs beside its only step: a scope is enough, at half the price.
            with trio.CancelScope() as self._scope:
                self.called -= 1
                await self.lead_on()
            return
        async with trio.open_nursery() as nursery:
            self.adopt(nursery)
            try:
                self.called -= 1
                await self.lead_on()
            finally:
                self.close()

    def adopt(self, nursery: trio.Nursery) -> None:
        """Have this nursery, in which a task is that runs a step of this level."""
        self.opened = True
        self._nursery, self._scope = nursery, nursery.cancel_scope

    def close(self) -> None:
        """The nursery ends. Cancelled: whoever pushes a step in this very turn must not find one that is closing."""
        self._nursery = None

    async def lead_on(self) -> None:
        """Be the level's own task, until the last of its steps has ended."""
        await self._work(self)
        while self.left > 0:
            await self._rest()
            if self.left > 0:
                self.called -= 1
                await self._work(self)

    async def _stand_by(self) -> None:
        self.called -= 1
        if self.queue:
            await self._work(self)

    async def _rest(self) -> None:
        """Sleep until a step is pushed or the last one has ended; each of those has its own deadline."""
        self._lead = current_task()

        def abort(_: RaiseCancelT) -> Abort:
            self._lead = None
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)
