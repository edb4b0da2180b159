"""Parts of the reference pages as the code itself would write them: the pages must have them word for word.

`python -m tests.docs.sections` prints them, to be copied into a page after a tool or a key has changed.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import attrs
import trio

import trouper
from trouper import Tool
from trouper.adapters.config_model import Config
from trouper.adapters.config_rules import rule_of, section_of


def built_in_tools(memory: str) -> Mapping[str, Tool]:
    """The tools that a troupe has without any of the user's."""

    async def opened() -> Mapping[str, Tool]:
        async with trouper.open_troupe({"memory": {"path": memory}, "planner": {"mode": "rules"}}) as troupe:
            return troupe.tools

    return trio.run(opened)


def tool_section(tool: Tool) -> str:
    """What the tools page says of one tool, before any words of its own."""
    properties: Any = tool.schema["properties"]
    rows = [_parameter_row(name, schema, required=name in tool.required) for name, schema in properties.items()]
    leave = f"Needs the permission `{tool.permission}`." if tool.permission else "Needs no permission."
    return "\n".join(
        [
            f"## `{tool.name}`",
            "",
            tool.description,
            f"Effect: `{tool.effect.value}`.",
            leave,
            "",
            "| parameter | type | default | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Gives {', '.join(f'`{name}`' for name in tool.outputs or ())}.",
        ]
    )


def _parameter_row(name: str, schema: Mapping[str, Any], *, required: bool) -> str:
    default = "required" if required else f"`{_shown(schema.get('default'))}`"
    return f"| `{name}` | {_type(schema)} | {default} | {schema.get('description', '')} |"


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    name = str(schema.get("type", "anything"))
    return {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(name, name)


def config_rows() -> Iterator[tuple[str, str]]:
    """Each key of the configuration with the beginning of its row: key, default, values."""
    for key, attribute in _keys(Config, ""):
        rule = rule_of(attribute)
        values = ", ".join(filter(None, (rule.wants(), rule.span())))
        yield key, f"| `{key}` | `{_shown(attribute.default)}` | {values} |"


def _keys(section: type[Any], before: str) -> Iterator[tuple[str, attrs.Attribute[Any]]]:
    for attribute in attrs.fields(section):
        inner = section_of(attribute)
        if inner is None:
            yield before + attribute.name, attribute
        else:
            yield from _keys(inner, f"{before}{attribute.name}.")


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if value == () or isinstance(value, attrs.Factory):  # type: ignore[arg-type]
        return "[]" if value == () else "{}"
    return '""' if value == "" else str(value)


# ------------------------------------------------------------------ the kernel
LONGEST_CALL = 80
"""Characters of a call that a table shows; the options of longer ones have a table of their own."""


def member_cells(cls: type, *, internal: Collection[str] = ()) -> list[str]:
    """What users may touch of a class, as the first cells of its table: calls, fields with defaults, members."""
    if issubclass(cls, enum.Enum):
        return [f"`{member.name}`" for member in cls]
    fields = {a.name: a for a in attrs.fields(cls)} if attrs.has(cls) else {}
    own = [name for base in reversed(cls.__mro__[:-1]) if base.__module__ == cls.__module__ for name in vars(base)]
    names = [name for name in dict.fromkeys((*fields, *own)) if not name.startswith("_") and name not in internal]
    return [f"`{_field(fields[name]) if name in fields else _member(cls, name)}`" for name in names]


def _member(cls: type, name: str) -> str:
    member = inspect.getattr_static(cls, name)
    if isinstance(member, classmethod | staticmethod):
        return f"{cls.__name__}.{call_of(name, getattr(cls, name))}"
    return call_of(name, member) if inspect.isfunction(member) else name


def call_of(name: str, function: Callable[..., Any]) -> str:
    """`await ask(message, *, timeout=None)`; too long a list of options becomes `...`."""
    function = inspect.unwrap(function)
    wait = "await " if inspect.iscoroutinefunction(function) else ""
    shown = [f"{wait}{name}({', '.join(_parameters(function))})", f"{wait}{name}({', '.join(_required(function))})"]
    return next((call for call in shown if len(call) <= LONGEST_CALL), shown[-1])


def option_cells(function: Callable[..., Any]) -> list[str]:
    """The keyword-only options of a call, with their defaults."""
    signature = inspect.signature(inspect.unwrap(function))
    return [f"`{_parameter(p)}`" for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]


def _parameters(function: Callable[..., Any]) -> Iterator[str]:
    star = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            yield "*"
        star = star or parameter.kind in {parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL}
        yield _parameter(parameter)


def _required(function: Callable[..., Any]) -> Iterator[str]:
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = inspect.signature(function).parameters.values()
    yield from (_parameter(p) for p in parameters if p.kind is not keyword and p.name != "self")
    yield "..."


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    default = "" if parameter.default is parameter.empty else f"={_code(parameter.default)}"
    return f"{stars}{parameter.name}{default}"


def _field(field: attrs.Attribute[Any]) -> str:
    if field.default is attrs.NOTHING or not isinstance(field.default, _SHOWN):  # there is none, or a function makes it
        return field.name
    return f"{field.name}={_code(field.default)}"


_SHOWN = (type(None), bool, int, float, str, tuple, enum.Enum, trouper.Mailbox)


def _code(value: object) -> str:
    """A default as one writes it."""
    constant = next((name for name in trouper.__all__ if name.isupper() and getattr(trouper, name) is value), None)
    if constant is not None and not isinstance(value, int):  # a 0 is a 0, also where a constant has that value
        return constant
    if attrs.has(type(value)):
        return f"{type(value).__name__}()"
    return str(value) if isinstance(value, enum.Enum) else repr(value)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for tool in built_in_tools(f"{folder}/memory.sqlite").values():
            print(tool_section(tool), end="\n\n")
    for _, row in config_rows():
        print(row)
