"""Which slot of the local model's server a call takes, decided before it is sent. Pure.

A slot keeps what it has computed of its last prompt, and the prompts of one role begin alike: a planner that finds its
slot as it left it waits 0.3 s instead of 8. So the roles with long fixed prompts have a slot each. A role whose slot is
taken does not wait for it: then the server chooses, by the likeness of the prompts.
"""

from __future__ import annotations

PINNED = ("planner", "verifier", "summariser")
"""Roles with a slot of their own, as far as there are slots. A role that comes later shares what is left."""


class Slots:
    """The slots of one life of a server."""

    def __init__(self, number: int) -> None:
        self._own: dict[str, int] = {role: slot for slot, role in enumerate(PINNED[:number])}
        self._taken: set[int] = set()

    def take(self, role: str) -> int | None:
        """The role's own slot if it has one and it is free; None leaves the choice to the server."""
        slot = self._own.get(role)
        if slot is None or slot in self._taken:
            return None
        self._taken.add(slot)
        return slot

    def give_back(self, slot: int | None) -> None:
        """The call that took it has ended."""
        if slot is not None:
            self._taken.remove(slot)
