"""How the built-in tools reach files: leave first, then a thread.

The tools are async because leave may be a question to a person, and a thread cannot wait for one without
becoming uncancellable. Reading is abandoned on cancel, it harms nobody; writing is waited for, since a
thread that goes on after its run has ended might rename a file that nobody expects any more.
"""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import attrs
import trio

from trouper.actors.permissions import PermissionPolicy
from trouper.runtime import ToolError

from .workspace import Workspace, Written

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 8
_REMEMBERED = 1024


def _limiter() -> trio.CapacityLimiter:
    return trio.CapacityLimiter(_THREADS)


@attrs.frozen(eq=False)
class FileAccess:
    """The work directory under a permission policy, for one troupe."""

    workspace: Workspace
    policy: PermissionPolicy
    seen: Seen = attrs.field(factory=lambda: Seen())
    _limiter: trio.CapacityLimiter = attrs.field(factory=_limiter)

    async def reach(self, path: str) -> Path:
        """Where `path` leads, once leave was given if that is outside.

        Raises:
            PermissionRefused: it leads outside and leave was not given.
            BadArguments: it can be no path.
        """
        real = await self.in_thread(self.workspace.locate, path)
        if not self.workspace.permits(real):
            where = f"which leads to {real}, outside the work directory {self.workspace.root}"
            await self.policy.require("outside", f"use {path!r}, {where}")
            self.workspace.grant(real)
        return real

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something that only reads or computes. Cancelled: it runs on, unheard."""
        run = functools.partial(function, *args, **kwargs)
        return await trio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=self._limiter)

    async def to_the_end(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something that writes. Cancelled: once begun it is waited for, so that its outcome is known."""
        run = functools.partial(function, *args, **kwargs)
        return await trio.to_thread.run_sync(run, limiter=self._limiter)

    async def put(self, path: str, data: bytes, *, overwrite: bool) -> Written:
        """Write a file with leave: a file that is there is replaced only if the policy says so.

        A file that has this content already is left alone, so that writing twice is writing once.
        Cancelled: the file is there as a whole, or nothing was changed.

        Raises:
            PermissionRefused: something else is there and overwriting is not allowed, or the path is outside.
            ToolError: it exists and `overwrite` is false, or it could not be written.
        """
        real = await self.reach(path)
        name = self.workspace.name(real)
        same = await self.in_thread(self.workspace.holds, path, data)
        if same is False:
            if not overwrite:
                raise ToolError(
                    f"{name} is there with other content, and the step says `overwrite: false`; choose another path",
                    effect=False,
                    retry_possible=False,
                )
            await self.policy.require("overwrite", f"overwrite {name}, which is there with other content")
        if same:
            written = Written(name, len(data), hashlib.sha256(data).hexdigest())
        else:
            written = await self._write(path, name, data, replace=same is False)
        changed = await self.in_thread(self.workspace.changed_ns, path)
        if changed is not None:
            self.seen.note(f"{name} {written.sha256}", changed)
        return written

    async def _write(self, path: str, name: str, data: bytes, *, replace: bool) -> Written:
        try:
            return await self.to_the_end(self.workspace.write, path, data, replace=replace)
        except FileExistsError as error:
            raise ToolError(
                f"{name} appeared while it was about to be written; it was left alone", effect=False
            ) from error


@attrs.define
class Seen:
    """When the files behind recent results were as the results say, on the file system's clock.

    A check comes after its step, and other steps may have changed files in between: the report that a search
    led to may itself contain what was searched for. What has changed since is no evidence against a result.
    Forgotten after 1,024 results and with the process; then a check compares with the files as they are.
    """

    _when: OrderedDict[str, int] = attrs.field(factory=OrderedDict)

    def note(self, key: str, nanoseconds: int) -> None:
        """A result known by `key` was true at that time."""
        self._when[key] = nanoseconds
        self._when.move_to_end(key)
        while len(self._when) > _REMEMBERED:
            self._when.popitem(last=False)

    def when(self, key: str) -> int | None:
        """The time noted for `key`; None if it is not known (any more)."""
        return self._when.get(key)
