"""The beginning of the calls of one async tool, as functions made for it.

`Tool.begin` does the same for every tool: it looks at each argument, calls the function, runs it up to its first
suspension, looks through the result and copies it. Of a tool that a plan calls again and again all that is known after
a few calls: which arguments, of which classes, and what a result looks like. It is written down as the source of a
function, as attrs does with an `__init__`; and once more for each form of parameters that many steps have, together
with filling in their references. Whatever is not as expected is left to the general way: an argument before the tool is
entered, a result after it. Between the two there was a third of what a plain step cost
(`python -m tests.benchmarks.plans`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import CodeType, CoroutineType
from typing import Any, cast

from trouper.runtime import Fill, Form, Own, written

from .protocols import Json
from .tool import Tool
from .tool_context import ToolContext
from .tool_data import is_flat, to_json
from .tool_drive import Suspended, waited_for
from .tool_failure import fail
from .tool_hand import ENDED, Hand
from .tool_place import ToolPlace
from .tool_scopes import Scopes
from .tool_shapes import Scalar, Shape


class Deep:
    """A result that is no flat dict."""

    __slots__ = ("value",)

    def __init__(self, value: Json) -> None:
        self.value: Json = value


Begun = dict[str, Json] | Deep | Suspended
"""A flat dict as it is, any other result as `Deep`."""

Begin = Callable[[dict[str, Any], ToolContext, Scopes], Begun]

Call = Callable[[Mapping[int, Any], Own, Scopes], Begun | None]
"""Fills in the references and begins; None if the arguments must be looked at. KeyError: a result is not there."""

LEARN = 16
"""Calls after which a tool is known."""

_UNWATCHED = ToolPlace(block_limit=math.inf)
_MOST = 16
_TEXT = 65_536
_WORD = (1 << 30) - 1  # what fits into one word of a Python number is compared in no time

_PLAIN: Mapping[type, str] = {
    int: f"type({{0}}) is int and -{_WORD} < {{0}} < {_WORD}",
    str: f"type({{0}}) is str and {{0}}.isascii() and len({{0}}) < {_TEXT}",
    float: "type({0}) is float and {0} - {0} == 0.0",
    bool: "type({0}) is bool",
    type(None): "{0} is None",
}
"""By class of an item of a flat dict what says that it is data without looking at more of it; see `tool_data`."""


class Alike:
    """Steps of one tool whose parameters are of one form: the functions that are made for them all, if any are."""

    __slots__ = ("call", "fill", "form")

    def __init__(self, form: Form = (), fill: Fill | None = None) -> None:
        self.form: Form = form
        self.fill: Fill | None = fill
        self.call: Call | None = None


class QuickTool:
    """`begin` is `tool.begin` of a tool that is `light`; `scopes` are those of the task.

    Who calls watches how long it takes. `alike` are the steps for which it may make a `call`, once it is known.
    """

    __slots__ = ("_known", "_left", "_tool", "alike", "begin")

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        kinds = tool.takes.kinds
        simple = tool.light and tool.awaited and not tool.wants_context and tool.takes.rest is None
        self._left: int = LEARN if simple and object not in kinds.values() and len(kinds) <= _MOST else 0
        self._known: dict[str, Any] = {}
        self.alike: list[Alike] = []
        self.begin: Begin = self._slowly

    def _slowly(self, parameters: dict[str, Any], ctx: ToolContext, _: Scopes) -> Begun:
        value = self._tool.begin(parameters, ctx, _UNWATCHED)
        if isinstance(value, Suspended):
            return value
        flat = is_flat(value)
        if self._left:
            self._left -= 1
            if not self._left:
                self._learn(parameters, cast("dict[str, Json]", value) if flat else {})
        return cast("dict[str, Json]", value) if flat else Deep(value)

    def _learn(self, parameters: Mapping[str, object], result: Mapping[str, object]) -> None:
        tool = self._tool
        shapes = {parameter.name: parameter.shape for parameter in tool.takes.items}
        fields = tuple(map(type, result.values())) if len(result) <= _MOST else ()
        self._known = {
            "function": tool.function,
            "name": tool.name,
            "slowly": self._slowly,
            "CoroutineType": CoroutineType,
            "Deep": Deep,
            "ENDED": ENDED,
            "fail": fail,
            "hand": Hand(),
            "is_flat": is_flat,
            "to_json": to_json,
            "waited_for": waited_for,
        }
        self._known.update((f"kind_{name}", kind) for name, kind in tool.takes.kinds.items())
        self._known.update((f"name{n}", field) for n, field in enumerate(result))
        code = _beginning(tuple((name, _how(shapes[name])) for name in parameters), fields)
        self.begin = cast("Begin", self._made(code, "begin"))
        for alike in self.alike:
            taken = self._taken(alike.form, shapes)
            if taken is not None:
                alike.call = cast("Call", self._made(_calling(alike.form, taken, fields), "call"))

    def _made(self, code: CodeType, name: str) -> object:
        exec(code, self._known)  # noqa: S102 - see `_beginning` and `_calling`
        return self._known.pop(name)

    def _taken(self, form: Form, shapes: Mapping[str, Shape]) -> tuple[tuple[str, str], ...] | None:
        """How each argument of this form is looked at; None if it cannot be known beforehand."""
        parts = written(form)
        if not shapes.keys() >= parts.values.keys() >= set(self._tool.required):
            return None
        taken: list[tuple[str, str]] = []
        for name in parts.values:
            how = _how(shapes[name])
            known = parts.constants.get(name)
            if known is None:
                taken.append((name, how))
            elif known is (float if how == "number" else shapes[name].exact()):
                taken.append((name, "known"))
            else:
                return None
        return tuple(taken)


def _how(shape: Shape) -> str:
    """How an argument of this shape is looked at."""
    if shape.exact() is list:
        return "copied"
    return "number" if isinstance(shape, Scalar) and shape.kind == "number" else "as it is"


# Into the source go names of parameters, which are names in Python too, the number of fields of a result and their
# classes, and what `written` gives; nothing that a plan or a result says.


def _guards(taken: Sequence[tuple[str, str]]) -> str:
    """What is true if an argument is not as expected."""
    guards = {
        "number": "type(a{0}) is not float or a{0} - a{0} != 0.0",
        "as it is": "type(a{0}) is not kind_{1}",
        "copied": "type(a{0}) is not kind_{1}",
    }
    return " or ".join(guards[how].format(n, name) for n, (name, how) in enumerate(taken) if how in guards)


def _rest(given: Sequence[type]) -> list[str]:
    """From the coroutine to the result."""
    every = range(len(given))
    lines = [
        "  if type(coroutine) is not CoroutineType:",
        "   coroutine = waited_for(coroutine)",
        "  message = hand.send(coroutine)",
        "  if message is not ENDED:",
        "   return hand.suspended(coroutine, message, scopes)",
        "  value = hand.value",
    ]
    if given:
        lines += [
            f"  if type(value) is dict and len(value) == {len(given)}:",
            f"   {', '.join(f'n{n}' for n in every)}, = value",
            f"   if {' and '.join(f'n{n} is name{n}' for n in every)}:",
            f"    {', '.join(f'v{n}' for n in every)}, = value.values()",
            f"    if {' and '.join(_PLAIN[kind].format(f'v{n}') for n, kind in enumerate(given))}:",
            f"     return {{{', '.join(f'name{n}: v{n}' for n in every)}}}",
        ]
    return [
        *lines,
        "  value = to_json(value)",
        "  return value if is_flat(value) else Deep(value)",
        " except BaseException as error:",
        "  hand.renew()",
        "  fail(name, error)",
    ]


@lru_cache(maxsize=256)
def _beginning(taken: tuple[tuple[str, str], ...], given: tuple[type, ...]) -> CodeType:
    """`begin` for these parameters (and how each is looked at), and for results of these classes."""
    arguments = [f"{name}=a{n}{'.copy()' if how == 'copied' else ''}" for n, (name, how) in enumerate(taken)]
    lines = [
        "def begin(parameters, ctx, scopes):",
        " try:",
        *[f"  a{n} = parameters[{name!r}]" for n, (name, _) in enumerate(taken)],
        f"  known = len(parameters) == {len(taken)}",
        " except KeyError:",
        "  known = False",
        f" if not known or {_guards(taken) or 'False'}:",
        "  return slowly(parameters, ctx, scopes)",
        " try:",
        f"  coroutine = function({', '.join(arguments)})",
        *_rest(given),
    ]
    return compile("\n".join(lines), "<beginning of a tool>", "exec")


@lru_cache(maxsize=256)
def _calling(form: Form, taken: tuple[tuple[str, str], ...], given: tuple[type, ...]) -> CodeType:
    """`call` for parameters of this form. What is built here is nobody else's, so no list is copied."""
    parts = written(form)
    lines = ["def call(flat, own, scopes):"]
    if parts.names:
        lines += [f" {', '.join(parts.names)}, = own"]
    lines += [f" a{n} = {parts.values[name]}" for n, (name, _) in enumerate(taken)]
    guards = _guards(taken)
    if guards:
        lines += [f" if {guards}:", "  return None"]
    lines += [" try:", f"  coroutine = function({', '.join(f'{name}=a{n}' for n, (name, _) in enumerate(taken))})"]
    return compile("\n".join([*lines, *_rest(given)]), "<call of a tool>", "exec")
