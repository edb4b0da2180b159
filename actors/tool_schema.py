"""From a function's signature and docstring to what a tool takes: JSON Schema and strict arguments."""

from __future__ import annotations

import difflib
import functools
import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .tool_shapes import MISSING, Shape, Taking
from .tool_types import UnsupportedType, shape_of


@attrs.frozen
class Parameter:
    """One thing that a tool takes."""

    name: str
    shape: Shape
    required: bool
    default: object = None
    description: str = ""

    def schema(self) -> dict[str, object]:
        """The parameter's JSON Schema, with its description and its default."""
        schema = self.shape.schema()
        if self.description:
            schema["description"] = self.description
        if not self.required and _is_json(self.default):
            schema["default"] = self.default
        return schema


@attrs.frozen
class Parameters:
    """All that a tool takes."""

    items: tuple[Parameter, ...]
    rest: Shape | None = None
    """The shape of what `**parameters` takes; None where nothing else is taken."""
    context: str | None = None
    """The name under which the function wants its `ToolContext`."""
    _known: Mapping[str, Shape] = attrs.field(init=False, repr=False)
    _kinds: Mapping[str, type] = attrs.field(init=False, repr=False)
    _copied: tuple[str, ...] = attrs.field(init=False, repr=False)
    _required: frozenset[str] = attrs.field(init=False, repr=False)

    @_known.default
    def _by_name(self) -> Mapping[str, Shape]:
        return {p.name: p.shape for p in self.items}

    @_kinds.default
    def _exact_kinds(self) -> Mapping[str, type]:
        return {p.name: p.shape.exact() for p in self.items}

    @_copied.default
    def _lists(self) -> tuple[str, ...]:
        return tuple(name for name, kind in self._kinds.items() if kind is list)

    @_required.default
    def _without_default(self) -> frozenset[str]:
        return frozenset(p.name for p in self.items if p.required)

    @property
    def kinds(self) -> Mapping[str, type]:
        """Of each parameter the class whose every member fits as it is; see `Shape.exact`."""
        return self._kinds

    @property
    def copied(self) -> tuple[str, ...]:
        """The parameters that the tool must get a copy of."""
        return self._copied

    def schema(self) -> dict[str, object]:
        """The JSON Schema of the arguments, one object."""
        rest: object = False
        if self.rest is not None:
            rest = self.rest.schema() or True
        return {
            "type": "object",
            "properties": {p.name: p.schema() for p in self.items},
            "required": [p.name for p in self.items if p.required],
            "additionalProperties": rest,
        }

    def quick(self, given: Mapping[str, object]) -> Mapping[str, object] | None:
        """The arguments as the function wants them, if that can be seen at a glance; None leaves it to `take`.

        This is on the way of every call: most arguments are of the very type that was declared.
        """
        kinds = self._kinds
        if len(given) < len(kinds) and not self._required.issubset(given):
            return None
        try:
            for name, value in given.items():
                if type(value) is not kinds[name] and kinds[name] is not object:
                    return None
        except KeyError:
            return None
        if self._copied:
            taken: dict[str, Any] = {**given}
            for name in self._copied:  # so that a tool that sorts its argument does not sort another step's result
                if name in taken:
                    taken[name] = taken[name].copy()
            return taken
        return given

    def take(self, given: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
        """The arguments as the function wants them, and every mistake in what was given."""
        taking = Taking([])
        known = self._known
        taken: dict[str, object] = {}
        for name, value in given.items():
            if name in known:
                taken[name] = known[name].take(value, name, taking)
            elif self.rest is not None and name != self.context:
                taken[name] = self.rest.take(value, name, taking)
            else:
                taking.problems.append(_unknown(name, list(known)))
        taking.problems.extend(
            f"{p.name}: missing; it takes {p.shape.words()}" for p in self.items if p.required and p.name not in given
        )
        return {n: v for n, v in taken.items() if v is not MISSING}, taking.problems


def parameters_of(function: Callable[..., object], tool: str, context: type, names: Mapping[str, object]) -> Parameters:
    """What `function` takes, apart from a parameter annotated with `context`.

    `names` are the local names in which annotations may be looked up beside the function's own module.

    Raises:
        TypeError: the function takes something that no plan can give; one message for all mistakes.
    """
    hints = hints_of(function, tool, names)
    told = argument_descriptions(_doc(function))
    items: list[Parameter] = []
    rest: Shape | None = None
    contexts: list[str] = []
    mistakes: list[str] = []
    for p in inspect.signature(function).parameters.values():
        hint = hints.get(p.name, object)
        if context in (hint, *typing.get_args(hint)):
            contexts.append(p.name)
            continue
        if problem := _unusable(p, annotated=p.name in hints):
            mistakes.append(problem)
            continue
        try:
            shape = shape_of(hint)
        except UnsupportedType as error:
            mistakes.append(f"{p.name!r}: {error}")
            continue
        if p.kind is p.VAR_KEYWORD:
            rest = shape
        else:
            about = _annotated(hint) or told.get(p.name, "")
            items.append(Parameter(p.name, shape, p.default is p.empty, p.default, about))
    if len(contexts) > 1:
        mistakes.append(f"more than one parameter is a {context.__name__}: {', '.join(contexts)}")
    if mistakes:
        raise TypeError(f"tool {tool!r} cannot be made: " + "; ".join(mistakes))
    return Parameters(tuple(items), rest, contexts[0] if contexts else None)


def hints_of(function: Callable[..., object], tool: str, names: Mapping[str, object]) -> dict[str, object]:
    """The function's annotations with their names resolved.

    Raises:
        TypeError: an annotation names something that cannot be found.
    """
    target = _annotated_function(function)
    try:
        return typing.get_type_hints(target, localns=dict(names), include_extras=True)
    except NameError as error:
        raise TypeError(
            f"tool {tool!r}: an annotation uses {error.name!r}, which is not defined where the tool is; "
            "import it outside `if TYPE_CHECKING`, or define it before the tool"
        ) from error


def description_of(function: Callable[..., object]) -> str:
    """The first paragraph of the function's docstring on one line."""
    return " ".join(_doc(function).split("\n\n", 1)[0].split())


def is_async(function: object) -> bool:
    """Whether calling it gives something to await; also for callable objects and partials."""
    call = getattr(function, "__call__", None)  # noqa: B004 - the bound method is wanted
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _doc(function: Callable[..., object]) -> str:
    # A partial and a callable object would answer with the docstring of their class.
    inner = function.func if isinstance(function, functools.partial) else function
    doc = inspect.getdoc(inner) if inspect.isroutine(inner) else inspect.getdoc(type(inner))
    return (doc or "").strip()


_SECTION = re.compile(r"^(\s*)(Args|Arguments|Parameters):\s*$", re.MULTILINE)
_ENTRY = re.compile(r"^(\s+)\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


def argument_descriptions(doc: str) -> dict[str, str]:
    """What a Google style `Args:` section says about each parameter."""
    found = _SECTION.search(doc)
    if found is None:
        return {}
    told: dict[str, list[str]] = {}
    indent: str | None = None
    current = ""
    for line in doc[found.end() :].splitlines():
        if line.strip() and len(line) - len(line.lstrip()) <= len(found[1]):
            break  # the next section
        entry = _ENTRY.match(line)
        if entry and (indent is None or entry[1] == indent):
            indent, current = entry[1], entry[2]
            told[current] = [entry[3]]
        elif current and line.strip():
            told[current].append(line.strip())
    return {name: " ".join(part for part in parts if part) for name, parts in told.items()}


def _unusable(p: inspect.Parameter, *, annotated: bool) -> str:
    if p.kind is p.POSITIONAL_ONLY:
        return f"{p.name!r} is positional-only, and plans give arguments by name; remove the `/`"
    if p.kind is p.VAR_POSITIONAL:
        return f"'*{p.name}' takes arguments without names, which plans do not have; take a list instead"
    if p.name == "ctx" and not annotated:
        return "'ctx' has no annotation; write `ctx: ToolContext` to receive the context"
    return ""


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"{name}: there is no such parameter; did you mean {near[0]!r}?"
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    return f"{name}: there is no such parameter; {takes}"


def _annotated_function(function: object) -> typing.Any:
    """The object that carries the annotations, behind `partial`, a bound method or `__call__`."""
    while hasattr(function, "func") and not inspect.isroutine(function):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return type(function).__call__


def _annotated(hint: object) -> str:
    """The text inside `Annotated[int, "how many"]`."""
    notes: tuple[object, ...] = getattr(hint, "__metadata__", ())
    return next((n for n in notes if isinstance(n, str)), "")


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
