"""A supervisor: starts its children in order, restarts those that end, stops them in reverse.

What OTP's supervisor does, with two liberties. Where children are independent of each other (`ONE_FOR_ONE`,
`SIMPLE_ONE_FOR_ONE`) the end of a child is decided at once, in the task that ended (`_ended`): a restart is a step of a
state machine, nobody waits for it, and a supervisor in the middle of a restart storm still answers. Where they depend
on each other (`ONE_FOR_ALL`, `REST_FOR_ONE`) ends queue up and the supervisor's own task works through them, one at a
time, taking turns with the administration calls, because stopping and starting a group takes a while and two such must
not interleave. A start that fails does not loop there: it goes to the end of the queue, so that in between the
supervisor answers, lets a child be terminated, and can be stopped.

A child's exception never enters this nursery; it arrives as an `ExitReason`. When the supervisor itself is told to stop
while it works on a group, the work is cancelled where it stands: the stop that follows takes every child as it is.

Restart intensity as in OTP: `intensity` restarts within `period` seconds are allowed; one more and the supervisor stops
its children and ends with the reason shutdown. A start that fails during a restart counts like an end.
Beyond OTP: a backoff between end and restart, directives by class of error, a budget of its own for each spawn.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, cast

import attrs
import trio

from ._cell import Cell
from ._child import (
    DOWN,
    NEW,
    RESTARTING,
    STARTING,
    STOPPED,
    ActorNode,
    Child,
)
from ._deadline import current
from ._errors import ActorStopped, ChildError, Ignore, RestartIntensityExceeded, StartFailed
from ._events import ActorRestarting, ActorStarted, Escalated
from ._intensity import RestartWindow, next_delay
from ._lazy import Dormant
from ._monitor import Down
from ._restart_rules import Ending, after_exit, directive_for, restarted_ids, shuts_down
from ._spec import (
    KILLED,
    SHUTDOWN,
    ChildSpec,
    Directive,
    ExitKind,
    ExitReason,
    Restart,
    Strategy,
    SupervisorSpec,
    crashed,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._actor import Actor
    from ._administration import SupervisorRef
    from ._ref import Ref
    from ._system import System

TOGETHER = 256
"""Children that are stopped in one go at most."""
STEPS_TO_END = 3
"""Of the scheduler, that a sleeping actor without anything to do at its end takes to end."""

GROUPS = (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE)

Job = tuple[Child, ExitReason | None]
"""A child that has ended, and how; without a reason: one whose restart is due."""


def _forgotten() -> Actor:
    raise AssertionError("the start of a temporary child is not kept: it is never started again")


class Supervisor(Child):
    """See the head of this file. Made by the system or by another supervisor; users hold a `SupervisorRef`."""

    __slots__ = (
        "_given_up",
        "_jobs",
        "_numbers",
        "_nursery",
        "_old",
        "_sleeper",
        "_turn",
        "_work",
        "children",
        "flags",
        "on_give_up",
        "own_window",
        "owner",
        "ref",
    )

    kind = "supervisor"

    def __init__(
        self, system: System, supervisor: Supervisor | None, spec: ChildSpec, name: str, flags: SupervisorSpec
    ) -> None:
        from ._administration import SupervisorRef

        super().__init__(system, supervisor, spec, name)
        self._nursery: trio.Nursery | None = None
        self.ref: SupervisorRef = SupervisorRef(self)  # pyright: ignore[reportIncompatibleVariableOverride] - set only here
        self.flags: SupervisorSpec = flags
        self.children: dict[str, Child | Dormant] = {}
        self.own_window: RestartWindow = RestartWindow(flags.intensity, flags.period)
        self.on_give_up: Callable[[RestartIntensityExceeded], None] | None = None  # the root's, a family's
        self._old: dict[str, Child | Dormant] = {}  # of the last life
        self.owner: Cell | None = None  # the actor whose children it looks after
        self._given_up: RestartIntensityExceeded | None = None
        self._jobs: deque[Job] = deque()  # at most two for each child
        self._turn = trio.Lock()
        self._work: trio.CancelScope | None = None
        self._sleeper: trio.lowlevel.Task | None = None
        self._numbers = 0

    # ------------------------------------------------------------ its task
    def _life_of_its_own(self) -> Callable[[], Awaitable[None]]:
        return self._live

    def _cut(self, why: str) -> bool:
        if self._nursery is None:
            return False
        self._nursery.cancel_scope.cancel(reason=why)
        return True

    @trio.lowlevel.enable_ki_protection
    async def _live(self) -> None:
        current.set(None)
        self._task = trio.lowlevel.current_task()
        reason = KILLED
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self._spares_on_stop:  # killed before this task ran
                    nursery.cancel_scope.cancel()
                with trio.CancelScope() as self._work:
                    await self._start_children()
                    if self._start_error is None and self._stop_reason is None:
                        self._begun()
                        await self._attend()
                await self._stop_children()
                self._nursery = None  # it takes nobody new: what is left in it are tasks that are about to end
            if not nursery.cancel_scope.cancelled_caught:
                reason = self._why()
        except BaseException:
            self._torn = True
            raise
        finally:
            self._work = None
            self._jobs.clear()
            self._forget_dynamic()
            self._end(reason)

    def _why(self) -> ExitReason:
        if self._start_error is not None:
            return crashed(self._start_error)
        if self._given_up is not None:
            return ExitReason(ExitKind.SHUTDOWN, error=self._given_up)
        return self._stop_reason if self._stop_reason is not None else SHUTDOWN

    def _begun(self) -> None:
        self._started()
        events = self.system.event_bus
        if events.active and self.supervisor is not None:
            now = self.system.clock.now()
            events.emit(ActorStarted(at=now, actor=self.name, incarnation=self.incarnation))

    async def _start_children(self) -> None:
        """The children of the spec, in order; the first that fails ends it."""
        self._given_up = None
        if isinstance(self.spec.start, SupervisorSpec):  # changed since the last life, maybe
            self.flags = self.spec.start
            self.own_window = RestartWindow(self.flags.intensity, self.flags.period)
        self._old, self.children = self.children, {}
        if self.flags.strategy is not Strategy.SIMPLE_ONE_FOR_ONE:
            async with self._turn:  # administration waits until all have started
                for spec in self.flags.children:
                    try:
                        await self._start_static(spec)
                    except StartFailed as error:
                        self._start_error = error
                        return

    async def _start_static(self, spec: ChildSpec) -> None:
        child = self._old.pop(spec.id, None)
        if isinstance(child, Child) and (child.kind == "supervisor") is spec.is_supervisor:
            self.children[spec.id] = child  # its ref stays valid
            self._take_spec(child, spec)
            self._revive(child)
        else:
            child = self._make(spec, f"{self.name}/{spec.id}")
        await self._start(child, added=True)

    async def _attend(self) -> None:
        """Work through the ends of a group's children until told to stop."""
        while self._stop_reason is None and self._given_up is None:
            if not self._jobs:
                self._sleeper = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort_sleep)
                continue
            async with self._turn:
                if self._jobs:
                    await self._do(*self._jobs.popleft())

    def _abort_sleep(self, _: object) -> trio.lowlevel.Abort:
        self._sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _poke(self) -> None:
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            trio.lowlevel.reschedule(sleeper)

    def request_stop(self, reason: ExitReason = SHUTDOWN) -> None:
        """Begin to stop: whatever it is at is cancelled, then the children are stopped in reverse order."""
        super().request_stop(reason)
        if self._work is not None:
            self._work.cancel(reason=f"supervisor {self.name} is being stopped")

    def _end_by_itself(self) -> None:
        """Stop as nobody asked it to: its supervisor decides what follows."""
        if self._stop_reason is None:
            self._stop_reason = SHUTDOWN
        if self._work is not None:
            self._work.cancel(reason=f"supervisor {self.name} shuts down")

    def _report(self, reason: ExitReason) -> None:
        if self.on_give_up is None:
            super()._report(reason)

    def _end(self, reason: ExitReason, handling: tuple[str, ...] = ()) -> None:
        above = self.supervisor
        tell = above.on_give_up if above is not None and above.supervisor is None and above.stopping else None
        if self._given_up is not None and tell is not None and self.spec.restart is Restart.PERMANENT:
            # The block has ended before the root could learn of it; it must not end as if all had been well.
            tell(self._given_up)
        self._nursery = None
        super()._end(reason, handling)

    @property
    def _ending(self) -> bool:
        return self._stop_reason is not None or self._given_up is not None or self._start_error is not None

    @property
    def stopping(self) -> bool:
        """Whether it restarts nobody any more."""
        return self._ending or not self.state.alive

    # ------------------------------------------------------------ stopping
    async def _stop_children(self) -> None:
        children = [*reversed(self.children.values())]
        if self.flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
            await self._stop_together(children)
            return
        batch: list[Child | Dormant] = []
        for child in children:
            if self._ends_unseen(child) and len(batch) < TOGETHER:
                batch.append(child)
                continue
            await self._stop_unseen(batch)
            if self._ends_unseen(child):
                batch.append(child)
            else:
                await child.stop(SHUTDOWN)
        await self._stop_unseen(batch)

    def _ends_unseen(self, child: Child | Dormant) -> bool:
        """Whether nobody can tell when `child` ends: it sleeps, does nothing at its end, and is not watched.

        Neighbours of whom that is true are stopped in one go. Each would else cost the supervisor a wake-up, which is
        most of what stopping ten thousand actors costs.
        """
        if isinstance(child, Dormant):
            return True
        return isinstance(child, Cell) and child.ends_unseen and not self.system.event_bus.active

    async def _stop_unseen(self, batch: list[Child | Dormant]) -> None:
        for child in batch:
            child.request_stop(SHUTDOWN)
        for _ in range(STEPS_TO_END):
            await trio.lowlevel.cancel_shielded_checkpoint()
        for child in batch:
            await child.stop(SHUTDOWN)  # within its own time, if it did have something to do after all
        batch.clear()

    async def _stop_together(self, children: list[Child | Dormant]) -> None:
        """All at once, within the time of one."""
        for child in children:
            child.request_stop(SHUTDOWN)
        grace = self.flags.children[0].grace
        alarm = self.system.alarms.at(self.system.clock.now() + grace, lambda: self._lose_patience(children))
        for child in children:
            await child.wait_down()
        alarm.cancel()
        for child in children:
            child.finish()

    def _lose_patience(self, children: list[Child | Dormant]) -> None:
        for child in children:
            if isinstance(child, Child):
                child.lose_patience()

    def _forget_dynamic(self) -> None:
        """What was started by hand is not started again when this supervisor is; its own children are."""
        own = {spec.id for spec in self.flags.children}
        for key, child in tuple(self.children.items()):
            child.finish()
            if key not in own or child.spec.restart is Restart.TEMPORARY:
                del self.children[key]

    def _closed(self) -> None:
        for child in self.children.values():
            child.finish()

    def down(self, reason: ExitReason) -> Down:
        """The record that monitors get."""
        return Down(self.ref, reason, self.incarnation)

    # ------------------------------------------------------------ making and starting children
    def _make(self, spec: ChildSpec, name: str, ref: Ref[Actor] | None = None) -> Child:
        child: Child
        if isinstance(spec.start, SupervisorSpec):
            child = Supervisor(self.system, self, spec, name, spec.start)
        else:
            child = Cell(self.system, self, spec, name, ref)
            self.system.registry.register(child)
        self.children[spec.id] = child
        return child

    @staticmethod
    def _revive(child: Child) -> None:
        if isinstance(child, Cell):
            child.revive()
        elif child.state is STOPPED:
            child.state = NEW

    def require_open(self, name: str) -> trio.Nursery:
        """The nursery to start `name` in. Raises `StartFailed` when nothing can be started here any more."""
        if self._nursery is None or self._ending:
            raise StartFailed(
                f"supervisor {self.name!r} has stopped or is stopping: nothing can be started under it", actor=name
            )
        return self._nursery

    async def _start(self, child: Child, *, added: bool) -> bool:
        """Begin a life and wait for its start; False if it declined.

        Cancelled: the child is stopped again, and forgotten if it was `added` just now.

        Raises:
            StartFailed: its start raised; it is forgotten if it was `added`.
        """
        nursery = self.require_open(child.name)
        child.awaited = True
        child.begin(nursery)
        try:
            await child.wait_started()
        except Ignore:
            if child.spec.restart is Restart.TEMPORARY or self.flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
                self.forget(child)
            else:
                child.finish()
            return False
        except StartFailed:
            if added:
                self.forget(child)
            else:
                child.finish()
            raise
        except BaseException:
            if added:
                self.stop_soon(child)
            elif self._nursery is not None:
                child.request_stop()
                self._nursery.start_soon(child.stop)
            raise
        finally:
            child.awaited = False
        if child.spec.restart is Restart.TEMPORARY and isinstance(child, Cell):
            child.spec = attrs.evolve(child.spec, start=_forgotten)  # and with it the arguments bound to it
            child.start = _forgotten
        return True

    @trio.lowlevel.enable_ki_protection
    async def start_child(
        self, spec: ChildSpec, *, name: str, window: RestartWindow | None = None, kept: bool = True
    ) -> Child | None:
        """Start one more child and wait for its `on_start`; None if it declined. Cancelled: it is stopped again.

        Raises:
            StartFailed: it did not start (its name and id are free again), or this supervisor is stopping.
            ChildError: there is a child with that id.
        """
        self.require_open(name)
        present = self.children.get(spec.id)
        if present is not None:
            raise self._present(present)
        child = self._make(spec, name)
        child.window = window
        child.kept = kept
        return child if await self._start(child, added=True) else None

    def _present(self, child: Child | Dormant) -> ChildError:
        running = isinstance(child, Dormant) or child.phase == "running"
        return ChildError(
            f"supervisor {self.name!r} already has a child {child.spec.id!r}"
            + (
                " that runs"
                if running
                else " that does not run: start it with `restart_child`, or `delete_child` it first"
            ),
            actor=child.name,
            reason="already_started" if running else "already_present",
            ref=cast("Any", child).ref,
        )

    @trio.lowlevel.enable_ki_protection
    def add_dormant(self, dormant: Dormant) -> None:
        """Keep a lazy actor under its name. Raises `StartFailed` if that is taken."""
        self.require_open(dormant.name)
        if dormant.name in self.children:
            raise self._present(self.children[dormant.name])
        self.system.registry.register(dormant)
        self.children[dormant.name] = dormant

    @trio.lowlevel.enable_ki_protection
    def materialise(self, dormant: Dormant, spec: ChildSpec, window: RestartWindow) -> Cell:
        """Somebody uses the ref of a lazy actor: put a cell in the dormant's place, asleep."""
        if self.children.get(dormant.name) is not dormant or self._nursery is None or self.stopping:
            return dormant.stopped_cell()
        self.system.registry.forget(dormant)
        cell = Cell(self.system, self, spec, dormant.name, dormant.ref)
        self.system.registry.register(cell)
        self.children[dormant.name] = cell  # in the dormant's place in the order
        dormant.ref.bind(cell)
        cell.window = window
        cell.kept = False
        cell.asleep = True
        return cell

    def rouse(self, cell: Cell) -> None:
        """The first message for a lazy actor is on its way: begin its life. Raises `StartFailed` when stopping."""
        nursery = self.require_open(cell.name)
        if cell.state.alive:
            return
        cell.awaited = True
        cell.begin(nursery)
        nursery.start_soon(self._await_lazy_start, cell)

    @trio.lowlevel.enable_ki_protection
    async def _await_lazy_start(self, cell: Cell) -> None:
        try:
            await cell.wait_started()
        except (StartFailed, Ignore):
            self.forget(cell)  # its askers learn why
        finally:
            cell.awaited = False

    def find_peer(self, child_id: str) -> Ref[Actor]:
        """The actor with that id here or further up."""
        supervisor: Supervisor | None = self
        known: list[str] = []
        while supervisor is not None:
            child = supervisor.children.get(child_id)
            if isinstance(child, Cell | Dormant):
                return child.ref
            known += supervisor.children
            supervisor = supervisor.supervisor
        raise LookupError(
            f"there is no actor {child_id!r} under {self.name!r}; there are: {', '.join(known) or 'none'}"
        )

    def forget(self, child: Child | Dormant) -> None:
        """Remove a child that will not run again."""
        child.finish()
        if isinstance(child, Child):
            child.drop_monitors()
        key = self.key_of(child)
        if self.children.get(key) is child:
            del self.children[key]

    def key_of(self, child: Child | Dormant) -> str:
        """Under which key it is kept: its id; for the children of a dynamic supervisor its name."""
        if isinstance(child, Dormant) or self.flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
            return child.name
        return child.spec.id

    def stop_soon(self, child: Child) -> None:
        """Stop a child for good, in a task of this supervisor."""
        if self._nursery is None or not self.state.alive:
            child.finish()
            return
        if child.doomed:
            return  # one task for that is enough
        child.doomed = True
        child.request_stop()
        self._nursery.start_soon(self._stop_and_forget, child)

    @trio.lowlevel.enable_ki_protection
    async def _stop_and_forget(self, child: Child) -> None:
        await child.stop(SHUTDOWN)
        self._absorb(child)
        self.forget(child)

    # ------------------------------------------------------------ the end of a child
    def child_down(self, child: Child, reason: ExitReason) -> None:
        """A life of `child` has ended by itself: restart it, let it rest, forget it, or give up."""
        if self.stopping or child.doomed or (child.awaited and child._start_error is not None):
            return  # whoever stops it, or waits for its first start, deals with it
        if self.state is STARTING or self.flags.strategy in GROUPS:
            self._jobs.append((child, reason))
            self._poke()
        else:
            self._ended(child, reason)

    def _ended(self, child: Child, reason: ExitReason) -> bool:
        """Decide about a child that has ended; whether it is to be started again, and when, is done elsewhere.

        Gives True if its restart has been admitted and is due now.
        """
        directive = directive_for(child.spec.directives, reason.error) if child.spec.directives else None
        if directive is Directive.ESCALATE:
            self._give_up(child, reason, "the directives say escalate")
            return False
        if directive is Directive.STOP:
            self._rest(child)
            if child.spec.restart is Restart.TEMPORARY:
                self._after_the_end_of(child)
            return False
        declined = isinstance(child._start_error, Ignore)
        failed_start = child._start_error is not None and not declined
        ending = Ending.REST if declined else after_exit(child.spec.restart, reason)
        if ending is Ending.RESTART or failed_start:
            return self._admit(child, reason)
        self._rest(child)
        if not declined:
            self._after_the_end_of(child)
        return False

    def _after_the_end_of(self, child: Child) -> None:
        """It has ended by itself and stays down: if it was significant, that may be the end of all."""
        if not child.spec.significant:
            return
        others = any(
            other is not child and other.spec.significant and other.state is not STOPPED
            for other in self.children.values()
        )
        if shuts_down(self.flags.auto_shutdown, child.spec, others_significant_alive=others):
            self._end_by_itself()

    def _rest(self, child: Child) -> None:
        if child.spec.restart is Restart.TEMPORARY or not child.kept or self._is_dynamic:
            self.forget(child)
        else:
            child.finish()

    @property
    def _is_dynamic(self) -> bool:
        return self.flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE

    def _admit(self, child: Child, reason: ExitReason) -> bool:
        """Count one more restart; then it is due now (True), later, or one too many."""
        now = self.system.clock.now()
        window = child.window or self.own_window
        if self._nursery is None:
            return False
        if not window.admit(now):
            self._give_up(
                child,
                reason,
                f"end {child.incarnation} came after {window.recent(now)} restarts within {window.period:g} s "
                f"(allowed: {window.intensity})",
            )
            return False
        started = child.started_at if child._start_error is None else None
        delay, child.failures = next_delay(child.spec.backoff, now, started, child.failures, self.system.clock.random)
        child.state = RESTARTING
        events = self.system.event_bus
        if events.active:
            events.emit(ActorRestarting(at=now, actor=child.name, incarnation=child.incarnation + 1, delay=delay))
        if delay > 0:
            life = child.incarnation
            child.set_alarm(self.system.alarms.at(now + delay, lambda: self._restart_due(child, life)))
            return False
        if self.flags.strategy not in GROUPS:
            child.begin(self._nursery)
            return False
        return True

    def _restart_due(self, child: Child, life: int) -> None:
        if child.state is not RESTARTING or child.incarnation != life or self.stopping or self._nursery is None:
            return
        if self.flags.strategy in GROUPS:
            self._jobs.append((child, None))
            self._poke()
        else:
            child.begin(self._nursery)

    # ------------------------------------------------------------ groups
    async def _do(self, child: Child, reason: ExitReason | None) -> None:
        if self.children.get(self.key_of(child)) is not child or child.doomed:
            return
        if reason is not None:
            if child.state is not DOWN or not self._ended(child, reason):
                return
        elif child.state is not RESTARTING:
            return
        if self.flags.strategy in GROUPS:
            await self._restart_group(child)
        elif self._nursery is not None and child.state is RESTARTING:
            child.begin(self._nursery)

    async def _restart_group(self, failed: Child) -> None:
        """Stop who goes down with `failed` in reverse order, then start them in order.

        A start that fails leaves those before it running and comes back as one more end.
        """
        ids = restarted_ids(self.flags.strategy, tuple(self.children), failed.spec.id)
        group = [child for key in ids if isinstance(child := self.children[key], Child)]
        for child in reversed(group):
            if child is not failed:
                await child.take_down(SHUTDOWN)
                self._absorb(child)
                if child.spec.restart is Restart.TEMPORARY:
                    self.forget(child)
        for child in group:
            if child.state is DOWN or child.state is RESTARTING:
                child.state = NEW  # not running; what waits for it goes on waiting
        for child in group:
            if self.children.get(self.key_of(child)) is not child or child.doomed:
                continue
            if self.stopping or self._nursery is None:
                return
            if child.state.alive or (isinstance(child, Cell) and child.asleep):
                continue  # a lazy actor, still asleep or roused meanwhile
            try:
                self._revive(child)
            except StartFailed as error:  # its name has been taken meanwhile
                child.start_refused(error)
                self._jobs.append((child, crashed(error)))
                return
            child.begin(self._nursery)
            try:
                await child.wait_started()
            except Ignore:
                child.finish()
            except StartFailed:
                if not child.doomed:
                    return  # `child_down` has queued it: to be counted, and tried again from there

    def _absorb(self, child: Child) -> None:
        """Its end has been dealt with: whatever waits in the queue about it is void."""
        if self._jobs:
            self._jobs = deque(job for job in self._jobs if job[0] is not child)

    # ------------------------------------------------------------ giving up
    def _give_up(self, child: Child, reason: ExitReason, why: str) -> None:
        if self._given_up is not None:
            return
        inner = reason.error
        if isinstance(inner, RestartIntensityExceeded) and self.supervisor is None and child.kind == "supervisor":
            error = inner  # the root has nothing to add: the one below has said it all
        else:
            error = RestartIntensityExceeded(
                f"supervisor {self.name!r} gave up on {child.name!r}: {why}. Last end: {reason}. "
                "Fix that, or raise `intensity` in its spec.",
                actor=child.name,
            )
            error.__cause__ = inner
        self._given_up = error
        self.system.log.error("%s", error)
        self._rest(child)
        events = self.system.event_bus
        if events.active:
            now = self.system.clock.now()
            events.emit(Escalated(at=now, actor=self.name, child=child.name, message=str(error)))
        if self._work is not None:
            self._work.cancel(reason=str(error))
        if self.on_give_up is not None:
            self.on_give_up(error)

    # ------------------------------------------------------------ administration: one call at a time, as in OTP
    def _require_running(self) -> None:
        if not self.state.alive or self._stop_reason is not None or self._given_up is not None:
            raise self._gone()

    def require_alive(self) -> None:
        """Raise `ActorStopped` if there is nobody to look at."""
        if not self.state.alive:
            raise self._gone()

    def _gone(self) -> ActorStopped:
        return ActorStopped(
            f"supervisor {self.name!r} has ended or is ending ({self.state.value}); start it again", actor=self.name
        )

    @staticmethod
    def _take_spec(child: Child, spec: ChildSpec) -> None:
        """From its next life on; a nested supervisor takes its flags up then, too."""
        child.spec = spec
        child.failures = 0
        if isinstance(child, Cell) and not spec.is_supervisor:
            child.start = cast("Any", spec.start)

    def node(self) -> ActorNode:
        """This part of the live tree, children in start order."""
        below = [
            child.node()
            if isinstance(child, Supervisor | Dormant)
            else ActorNode(
                name=child.name,
                kind="actor",
                state=child.state.value,
                incarnation=child.incarnation,
                children=cast("Cell", child).family_nodes(),
            )
            for child in self.children.values()
        ]
        return ActorNode(
            name=self.name,
            kind="supervisor",
            state=self.state.value,
            incarnation=self.incarnation,
            children=tuple(below),
        )
