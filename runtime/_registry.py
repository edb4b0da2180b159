"""Names of one system: no module globals, so several systems live side by side in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._errors import StartFailed

if TYPE_CHECKING:
    from ._cell import Cell
    from ._lazy import Dormant


class Registry:
    """Which cell has which name."""

    def __init__(self) -> None:
        self._cells: dict[str, Cell | Dormant] = {}
        self._arrivals = trio.lowlevel.ParkingLot()
        self._counters: dict[str, int] = {}

    def unique(self, stem: str, not_this: str = "") -> str:
        """A name that nobody has: `stem` itself, or with a number; `not_this` is taken in another way."""
        name = not_this or stem
        while name in self._cells or name == not_this:
            number = self._counters[stem] = self._counters.get(stem, 1) + 1
            name = f"{stem}-{number}"
        return name

    def register(self, cell: Cell | Dormant) -> None:
        """Give `cell` its name. Raises `StartFailed` if another has it."""
        if cell.name in self._cells:
            raise StartFailed(
                f"the name {cell.name!r} is taken by a living actor; stop that one first, or choose another name",
                actor=cell.name,
            )
        self._cells[cell.name] = cell
        self._arrivals.unpark_all()

    def forget(self, cell: Cell | Dormant) -> None:
        """Free the name of `cell`."""
        if self._cells.get(cell.name) is cell:
            del self._cells[cell.name]

    def find(self, name: str) -> Cell | Dormant | None:
        """Who has that name now."""
        return self._cells.get(name)

    async def wait_registered(self, name: str) -> Cell | Dormant:
        """Wait until somebody has that name. Bound it with a cancel scope of your own."""
        while True:
            cell = self._cells.get(name)
            if cell is not None:
                await trio.lowlevel.checkpoint()
                return cell
            await self._arrivals.park()

    def cells(self) -> tuple[Cell | Dormant, ...]:
        """Everybody, in order of registration."""
        return tuple(self._cells.values())
