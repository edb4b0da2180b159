"""Parts of the reference pages as the code itself would write them: the pages must have them word for word.

`python -m tests.docs.sections` prints them, to be copied into a page after a tool or a key has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    return '""' if value == "" else str(value)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for tool in built_in_tools(f"{folder}/memory.sqlite").values():
            print(tool_section(tool), end="\n\n")
    for _, row in config_rows():
        print(row)
