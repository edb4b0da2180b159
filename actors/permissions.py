"""The permission policy: what tools may do, as data, and one question to a person where the data says so."""

from __future__ import annotations

import enum
from typing import Protocol

import attrs
import trio

from trouper.runtime import PermissionRefused


class Decision(enum.Enum):
    """What the policy says about a class of action."""

    ALLOW = "allow"
    ASK = "ask"
    """A person decides; where there is nobody to ask it is refused."""
    DENY = "deny"


class Asker(Protocol):
    """Port: somebody who can be asked for leave."""

    async def ask(self, question: str) -> bool:
        """Put the question and wait for yes or no. Cancelled: the question is withdrawn."""
        ...


@attrs.frozen(kw_only=True)
class PermissionPolicy:
    """What tools may do, by class. Each field is the config key `permissions.<field>`.

    Values may be given as text, as the configuration has them.
    """

    read: Decision = attrs.field(default=Decision.ALLOW, converter=Decision)
    """Read files in the work directory."""
    write: Decision = attrs.field(default=Decision.ALLOW, converter=Decision)
    """Make new files in the work directory."""
    overwrite: Decision = attrs.field(default=Decision.ASK, converter=Decision)
    """Replace a file that is there."""
    outside: Decision = attrs.field(default=Decision.DENY, converter=Decision)
    """Touch paths outside the work directory."""
    network: Decision = attrs.field(default=Decision.DENY, converter=Decision)
    """Fetch from public addresses."""
    private_network: Decision = attrs.field(default=Decision.DENY, converter=Decision)
    """Fetch also from this machine and from private networks."""
    memory: Decision = attrs.field(default=Decision.ALLOW, converter=Decision)
    """Read and add memories."""
    asker: Asker | None = attrs.field(default=None, eq=False, repr=False)

    def decision(self, permission: str) -> Decision:
        """What the policy says about `permission`.

        Raises:
            ValueError: there is no such class.
        """
        if permission not in PERMISSIONS:
            raise ValueError(f"{permission!r} is no permission; there are {', '.join(PERMISSIONS)}")
        found: Decision = getattr(self, permission)
        return found

    async def require(self, permission: str | None, what: str) -> None:
        """Return if `what` (a phrase like "overwrite todo.md") is allowed; `None` needs no leave.

        Under `ask` this waits for the person as long as the caller's scope lets it.
        Cancelled: nothing was granted.

        Raises:
            PermissionRefused: denied, declined, or nobody to ask; the message names the key that allows it.
        """
        await trio.lowlevel.checkpoint()
        decision = Decision.ALLOW if permission is None else self.decision(permission)
        if decision is Decision.ALLOW:
            return
        key = f"permissions.{permission}"
        if decision is Decision.DENY:
            why = f"{key} is 'deny'"
        elif self.asker is None:
            why = f"{key} is 'ask' and there is nobody to ask"
        elif await self.asker.ask(f"May this run {what}?"):
            return
        else:
            why = f"the answer to the question was no ({key} is 'ask')"
        raise PermissionRefused(f"it may not {what}: {why}. To allow it set `{key}: allow` in the configuration.")


PERMISSIONS = tuple(a.name for a in attrs.fields(PermissionPolicy) if a.name != "asker")
"""The classes of action that a policy knows."""
