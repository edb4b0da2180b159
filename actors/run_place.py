"""What a run of a plan finds around it, and how it is to be run: data, the same for a plan and its sub-plans."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import attrs
import trio

from trouper.runtime import Actor, Budget, Context, Event, Journal, Ledger, Record, Ref

from .dispatch import Caps, EffectLimits
from .permissions import PermissionPolicy
from .records import StepEnded
from .runlog import RunLog, Settled
from .tool import Tool
from .tool_place import BARE, ToolPlace


@attrs.frozen(kw_only=True)
class ParallelExecution:
    """How many steps run at once, and whether levels are barriers.

    `enabled=False`: one step at a time. `dependency_analysis=False`: one after another in the plan's own
    topological order. `level_barrier=True`: a level starts when the one before has ended.
    """

    enabled: bool = True
    max_parallel_steps: int = 5
    dependency_analysis: bool = True
    level_barrier: bool = False
    effects: EffectLimits = attrs.field(factory=EffectLimits)

    @property
    def slots(self) -> int:
        """Steps that may run at once."""
        return self.max_parallel_steps if self.enabled and self.dependency_analysis else 1


@attrs.frozen(kw_only=True)
class Verification:
    """Whether results are verified, beside the run or awaited, how long it may take, and what a doubt does.

    A verdict with less confidence than `threshold` is a doubt: it marks the outcome (`mark`), or counts as
    refuted (`replan`).
    """

    enabled: bool = True
    background: bool = True
    timeout: float = 30.0
    threshold: float = 0.8
    below_threshold: Literal["mark", "replan"] = "mark"


class Scribe:
    """Writes what happens: into the journal, then to whoever listens. The two get the same record.

    Bound to a log and its owner it writes only as long as that one has the run: what a cancelled task still says after
    the end of the run is not heard.
    """

    __slots__ = ("_ctx", "_log", "_owner", "journal")

    def __init__(self, ctx: Context, journal: Journal | None) -> None:
        self._ctx = ctx
        self._log: RunLog | None = None
        self._owner: object = None
        self.journal: Journal | None = journal

    def bind(self, run_log: RunLog, owner: object) -> None:
        """Write for this owner of that run only."""
        self._log, self._owner = run_log, owner

    @property
    def name(self) -> str:
        """Who writes."""
        return self._ctx.name

    @property
    def active(self) -> bool:
        """Whether anybody keeps or hears a record: check it before building one on a path that must be quick."""
        return self.journal is not None or self._ctx.listening

    @property
    def heard(self) -> bool:
        """Whether anybody listens: for events that are not written down."""
        return self._ctx.listening

    def channels(self) -> tuple[Callable[[Record], bool] | None, Callable[[Event], None] | None]:
        """What takes a record for the journal, and what tells it, if anybody listens.

        For a loop that must be quick and asks again whenever others have had a turn; `write` is for everybody else.
        """
        keep = None if self.journal is None else self.journal.append
        return keep, self._ctx.channel

    def write(self, record: Record) -> bool:
        """Write a record and tell it; False if the journal must be synced before anything relies on it."""
        if self._log is not None and self._log.owner is not self._owner:
            return True
        safe = self.journal is None or self.journal.append(record)
        if self._ctx.listening:
            self._ctx.emit(record)
        return safe

    def settled(self, run_log: RunLog, settled: Iterable[Settled]) -> None:
        """Write how steps have ended that were closed from outside."""
        for outcome, item, inside in settled:
            self.write(
                StepEnded(
                    at=trio.current_time(),
                    actor=self.name,
                    run_id=run_log.run_id,
                    outcome=outcome,
                    item=item,
                    inside=inside,
                )
            )

    def tell(self, event: Event) -> None:
        """Tell what is not written down."""
        if self._ctx.listening:
            self._ctx.emit(event)

    async def sync(self) -> None:
        """Wait until everything written is safe. Raises `JournalError` if it cannot be."""
        if self.journal is not None:
            await self.journal.sync()


@attrs.frozen(kw_only=True, eq=False)
class RunPlace:
    """What a run finds around it: the tools, the verifier, the caps, the ledger, where files are."""

    tools: Mapping[str, Tool]
    workspace: str
    policy: PermissionPolicy
    scribe: Scribe
    caps: Caps
    parallel: ParallelExecution
    verification: Verification
    verifier: Ref[Actor] | None
    books: Ledger | None = None
    """What the run spends, whether anything is limited or not."""
    ledger: Ledger | None = None
    """The same, where a limit has to be kept to; None: nothing is limited."""
    tool_place: ToolPlace = BARE
    random: random.Random
    secrets: tuple[str, ...] = ()
    """Texts that nobody but a tool may see."""
    approval_wait: float = 0.0
    """Seconds that a run with nothing else to do waits for a person before it is suspended."""

    carries: bool = False
    """The ledger is not the one that the messages of the run carry: what a tool asks of a model must be told."""

    def with_budget(self, budget: Budget | None, name: str) -> RunPlace:
        """The place of a part of the run that has a budget of its own, within the one around it."""
        if budget is None:
            return self
        around = self.ledger if self.ledger is not None else self.books
        ledger = Ledger(budget, name=name) if around is None else around.child(budget, name=name)
        return attrs.evolve(self, ledger=ledger, carries=True)
