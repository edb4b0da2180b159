"""What is known of the actions a plan may use, and what a plan gets wrong about them."""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs

from ._errors import ConfigError, ConfigProblem, ProblemKind
from ._nearest import listed, nearest, suggestion
from ._plan_data import Path
from ._plan_report import short, shown

_KEYS = ("required", "parameters", "outputs", "schema")


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _names_or_none(names: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if names is None else _names(names)


@attrs.frozen
class ActionSignature:
    """What a plan must and may give an action, and what comes out of it.

    Attributes:
        required: Parameters that must be there.
        parameters: All parameters it takes; None if it takes any, or nobody knows.
        outputs: The fields of its result; None if nobody knows.
        schema: The JSON Schema of its parameters, for `plan_schema`.
    """

    required: Collection[str] = attrs.field(default=(), converter=_names)
    parameters: Collection[str] | None = attrs.field(default=None, converter=_names_or_none)
    outputs: Collection[str] | None = attrs.field(default=None, converter=_names_or_none)
    schema: Mapping[str, object] | None = attrs.field(default=None, kw_only=True)

    def takes(self, parameter: str) -> bool:
        """Whether the action has such a parameter, as far as is known."""
        return self.parameters is None or parameter in self.parameters or parameter in self.required

    def gives(self, field: str) -> bool:
        """Whether its result has such a field, as far as is known."""
        return self.outputs is None or field in self.outputs


Catalogue = Mapping[str, ActionSignature]
Finding = tuple[ProblemKind, Path, str]
"""A kind of problem, the path from the call, and the message."""


def call_problems(action: str | None, parameters: Mapping[str, object] | None, known: Catalogue) -> Iterator[Finding]:
    """What is wrong with calling `action` with `parameters`; `None` for what has been reported already."""
    if action is None:
        return
    if action not in known:
        message = f"there is no action {short(action)!r}{suggestion(action, known) or f'; there are {listed(known)}'}"
        yield "unknown_action", ("action",), message
        return
    signature = known[action]
    for name in signature.required if parameters is not None else ():
        if name not in (parameters or {}):
            yield "missing_parameter", ("parameters", name), f"{action!r} needs the parameter {name!r}"
    for name in parameters or ():
        if not signature.takes(name):
            takes = _names((*signature.required, *(signature.parameters or ())))
            message = f"{action!r} has no parameter {short(name)!r}; it takes {listed(takes)}{suggestion(name, takes)}"
            yield "unknown_field", ("parameters", name), message


def catalogue_from_json(source: object) -> dict[str, ActionSignature]:
    """The catalogue that `{name: {"required": [...], "parameters": [...], "outputs": [...]}}` describes.

    Every key of an entry is optional: without `parameters` any are taken, without `outputs` any field may
    come. `parameters` may also be an object, whose keys count. Other keys (a description, say) are left alone
    unless they look like one of these misspelt.

    Raises:
        ConfigError: with every mistake, each with its path.
    """
    if not isinstance(source, Mapping):
        message = f"is {shown(source)}, not an object of action names"
        raise ConfigError([ConfigProblem(path="", message=message)], source="the catalogue")
    problems: list[ConfigProblem] = []
    found = {str(name): _signature(str(name), entry, problems) for name, entry in source.items()}
    if problems:
        raise ConfigError(problems, source="the catalogue")
    return found


def _signature(action: str, entry: object, problems: list[ConfigProblem]) -> ActionSignature:
    if not isinstance(entry, Mapping):
        problems.append(ConfigProblem(path=action, message=f"is {shown(entry)}, not an object"))
        return ActionSignature()
    for key in map(str, entry):
        near = () if key in _KEYS else nearest(key, _KEYS)
        if near:
            problems.append(ConfigProblem(path=f"{action}.{key}", message="is not a key here", nearest=near[0]))
    lists = {key: _list_of_names(f"{action}.{key}", entry.get(key), problems) for key in _KEYS[:3]}
    schema = entry.get("schema")
    if schema is not None and not isinstance(schema, Mapping):
        problems.append(ConfigProblem(path=f"{action}.schema", message=f"is {shown(schema)}, not a JSON Schema"))
        schema = None
    return ActionSignature(lists["required"] or (), lists["parameters"], lists["outputs"], schema=schema)


def _list_of_names(path: str, value: object, problems: list[ConfigProblem]) -> list[str] | None:
    if value is None:
        return None
    if isinstance(value, Mapping) and path.endswith(".parameters"):
        value = list(value)
    if not isinstance(value, list | tuple):
        problems.append(ConfigProblem(path=path, message=f"is {shown(value)}, not a list of names"))
        return None
    for n, name in enumerate(value):
        if not isinstance(name, str):
            problems.append(ConfigProblem(path=f"{path}[{n}]", message=f"is {shown(name)}, not a name"))
    return [name for name in value if isinstance(name, str)]
