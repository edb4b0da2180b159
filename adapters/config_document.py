"""YAML text as plain data that remembers the line of every key.

Read with yaml's safe loader and by its node tree, not by `yaml.safe_load`, which forgets the lines and
lets a key that stands twice win silently. Bounded: by the file's size, by the number of values (an alias
that repeats an alias would otherwise grow without end) and by depth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trouper.runtime import ConfigProblem

if TYPE_CHECKING:
    from yaml import MappingNode, Node, SafeLoader, ScalarNode

KeyPath = tuple[str, ...]

MAX_BYTES = 256 * 1024
_MAX_VALUES = 10_000
MAX_DEPTH = 12

FILE = "file"
"""The path of a problem that is the whole file's."""
UNREADABLE = object()
"""Stands where a value was reported already, so that nobody reports it again."""


def dotted(path: KeyPath) -> str:
    """`a.b.c`, shortened where somebody made it long."""
    text = ".".join(path).replace(".[", "[")
    return text if len(text) <= 120 else text[:117] + "..."


@attrs.define
class Document:
    """Plain data, the line of each key (counted from 1), and what was wrong on the way."""

    data: object = None
    lines: dict[KeyPath, int] = attrs.field(factory=dict)
    problems: list[ConfigProblem] = attrs.field(factory=list)


def parse_yaml(text: str) -> Document:
    """Read one YAML document. A syntax error is one problem; so is each key that stands twice."""
    import yaml

    document = Document()
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        document.data = _Reading(loader, document).value(root, ()) if root is not None else None
    except RecursionError:
        document.problems.append(ConfigProblem(path=FILE, message="is nested too deep to be a configuration"))
    except yaml.YAMLError as error:
        # Not chained by the caller either: the error's own text quotes the line, and a key may stand there.
        document.problems.append(_syntax_problem(error))
    return document


def _syntax_problem(error: Exception) -> ConfigProblem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    why = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    line = mark.line + 1 if mark is not None else None
    return ConfigProblem(path=FILE, message=f"is not valid YAML: {why}", line=line)


class _Reading:
    """One pass over a node tree."""

    def __init__(self, loader: SafeLoader, document: Document) -> None:
        self._loader = loader
        self._document = document
        self._left = _MAX_VALUES

    def value(self, node: Node, path: KeyPath) -> object:
        from yaml import MappingNode, ScalarNode, SequenceNode

        self._left -= 1
        if self._left == 0:
            self._problem(path, f"the file has more than {_MAX_VALUES} values", node)
        if self._left <= 0 or len(path) > MAX_DEPTH:
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, f"[{i}]")) for i, item in enumerate(node.value)]
        return self._scalar(node, path) if isinstance(node, ScalarNode) else None

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, object]:
        data: dict[str, object] = {}
        for key, value in node.value:
            # The text of the key as written: `on:` and `1:` stay what a person sees.
            name = key.value if isinstance(key.value, str) else "?"
            here = (*path, name)
            if name in data:
                first = self._document.lines[here]
                self._problem(here, f"stands twice (first on line {first}); keep one", key)
                continue
            self._document.lines[here] = key.start_mark.line + 1
            data[name] = self.value(value, here)
        return data

    def _scalar(self, node: ScalarNode, path: KeyPath) -> object:
        try:
            return self._loader.construct_object(node)
        except ValueError:  # a number of a million digits, the 45th of May
            self._problem(path, f"is not a valid value of its kind ({node.tag.rpartition(':')[2]})", node)
            return UNREADABLE

    def _problem(self, path: KeyPath, message: str, node: Node) -> None:
        line = node.start_mark.line + 1
        self._document.problems.append(ConfigProblem(path=dotted(path), message=message, line=line))
