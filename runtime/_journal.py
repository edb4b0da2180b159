"""What becomes of a run, written down before it is believed.

A record is an event that is also kept: what is told to whoever listens and what is written down are the same object,
so that the two cannot say different things. Folding a run's records gives the state it had: to show it, or to go on.

`append` says whether the record is safe already. A journal in memory always says yes, and costs a method call; one on
a disk says no, and whoever must not go on before the record is safe (an effect follows) awaits `sync`, which makes
everything appended so far safe at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import attrs

from ._events import Event


@attrs.frozen(kw_only=True)
class Record(Event):
    """An event of the run `run_id` that is written down."""

    run_id: str


@runtime_checkable
class Journal(Protocol):
    """Port: where records are kept. Records of one run come back in the order in which they were appended."""

    def append(self, record: Record) -> bool:
        """Take a record; True if it is safe now, False if it is only after `sync`. Never waits."""
        ...

    async def sync(self) -> None:
        """Make everything appended so far safe. Cancelled: it may or may not be; nothing is lost from memory.

        Raises:
            JournalError: it cannot be written; whoever needs the record must not go on.
        """
        ...

    async def read(self, run_id: str) -> Sequence[Record]:
        """The records of a run, oldest first; none if it is not known."""
        ...

    async def runs(self) -> Sequence[str]:
        """The ids of the runs that are kept, oldest first."""
        ...

    async def aclose(self) -> None:
        """Close. Idempotent."""
        ...


class MemoryJournal:
    """Keeps the records of the last `keep` runs, as long as the program lives."""

    def __init__(self, keep: int = 256) -> None:
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ValueError(f"MemoryJournal(keep={keep!r}): give a whole number of runs, 1 or more")
        self._keep = keep
        self._runs: OrderedDict[str, list[Record]] = OrderedDict()

    def append(self, record: Record) -> bool:
        """Take a record: safe at once, for as long as this journal lives."""
        kept = self._runs.get(record.run_id)
        if kept is None:
            if len(self._runs) >= self._keep:
                self._runs.popitem(last=False)
            kept = self._runs[record.run_id] = []
        kept.append(record)
        return True

    async def sync(self) -> None:
        """Nothing to do: what is appended is as safe as it will be."""

    async def read(self, run_id: str) -> Sequence[Record]:
        """The records of a run, oldest first."""
        return tuple(self._runs.get(run_id, ()))

    async def runs(self) -> Sequence[str]:
        """The ids of the runs that are kept, oldest first."""
        return tuple(self._runs)

    async def aclose(self) -> None:
        """Nothing is open."""
