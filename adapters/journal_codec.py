"""Records of a run as JSON and back, exactly: what is decoded equals what was encoded.

A record becomes `{"record": its class, field: value, ...}` without the fields that have their default. The shape of
each class is read off its annotations, so a new record, or a new field with a default, needs no change here, and a
file of an older version can still be read. A plan is written in its own canonical spelling and parsed again.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs
from cattrs import Converter
from cattrs.errors import StructureHandlerNotFoundError

from trouper.actors import records
from trouper.runtime import JournalError, Plan, PlanError, PlanSource, Record, Step, parse_plan

KINDS: dict[str, type[Record]] = {
    cls.__name__: cls
    for cls in vars(records).values()
    if isinstance(cls, type) and issubclass(cls, Record) and cls is not Record
}
"""Every record there is, by its name."""


def encode(record: Record) -> dict[str, object]:
    """A record as plain data. What a tool gave stands in it as it is, not copied.

    Raises:
        JournalError: it is of a class that nobody could decode.
    """
    name = type(record).__name__
    if KINDS.get(name) is not type(record):
        raise JournalError(f"{name} is no record that a journal knows; those in `records` are")
    return {"record": name, **_converter().unstructure(record)}


def decode(data: object) -> Record:
    """The record that `encode` gave this data for.

    Raises:
        JournalError: it is of a kind that this version does not know, or damaged.
    """
    name = data.get("record") if isinstance(data, dict) else None
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise JournalError(f"there is no record of the kind {name!r}: a newer version may have written it")
    try:
        return _converter().structure(data, kind)
    except (TypeError, ValueError, LookupError, AttributeError, StructureHandlerNotFoundError, PlanError) as error:
        raise JournalError(f"a record {name} is damaged: {type(error).__name__}") from error


def as_line(data: object) -> bytes:
    """Data as one line of ASCII. What no JSON can say is written as its `repr`.

    Raises:
        JournalError: it is nested too deeply, contains itself, or has a number beyond all measure.
    """
    try:
        return json.dumps(data, separators=(",", ":"), default=repr).encode("ascii") + b"\n"
    except (ValueError, TypeError, RecursionError) as error:
        raise JournalError(f"a record cannot be written down: {type(error).__name__}: {error}") from error


def of_line(line: bytes) -> object:
    """The data of a line.

    Raises:
        JournalError: it is not JSON.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise JournalError(f"a line is not JSON: {error}") from error


@functools.cache
def _converter() -> Converter:
    """Made once, at the first record."""
    converter = Converter(omit_if_default=True, detailed_validation=False)
    # `object` is where results and parameters are: plain data already, and too much of it to be walked through.
    converter.register_unstructure_hook_func(lambda kind: kind is object, lambda value: value)
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    converter.register_unstructure_hook(Plan, _plan_as_data)
    converter.register_structure_hook(Plan, lambda value, _: _plan_of(value))
    for kind in KINDS.values():
        attrs.resolve_types(kind)
    return converter


# In a further plan of a run the steps that have finished come first, and they may name what was given up with the plan
# before: a step that failed, or one of those that their `join` could do without. A new plan may not do that. So it is
# written down how many of the steps have finished, and who is gone.

_NOBODY: Final = 2**62
"""From here on there are no steps."""


def _plan_as_data(plan: Plan) -> dict[str, object]:
    data, there = plan.as_json(), plan.dependencies
    loose = [n for n, step in enumerate(plan.steps) if not step.needs <= there.keys() or _short_of(step, there)]
    if not loose:
        return data
    places = {step.id: n for n, step in enumerate(plan.steps)}
    last, seen = loose[-1], -1
    while seen < last:  # what a finished step waited for has finished too
        needs = (places[need] for step in plan.steps[: last + 1] for need in there[step.id])
        seen, last = last, max(last, max(needs, default=0))
    finished = plan.steps[: last + 1]
    gone = sorted({need for step in finished for need in step.needs} - there.keys())
    return {**data, "finished": len(finished), "gone": gone}


def _short_of(step: Step, there: Mapping[int, tuple[int, ...]]) -> bool:
    return isinstance(step.join, int) and step.join > len(there[step.id])


def _plan_of(value: object) -> Plan:
    if not isinstance(value, dict) or "finished" not in value:
        return parse_plan(cast("PlanSource", value))
    data = cast("dict[str, Any]", value)
    entries, count = data["steps"], data["finished"]
    most = max((entry["join"] for entry in entries[:count] if isinstance(entry.get("join"), int)), default=0)
    nobody = range(_NOBODY, _NOBODY + most)  # as many as a `join` may ask for
    padded = [{**entry, "dependencies": [*entry["dependencies"], *nobody]} for entry in entries[:count]]
    as_it_was = parse_plan([*padded, *({"id": step, "action": "gone"} for step in (*data["gone"], *nobody))])
    old = (attrs.evolve(as_it_was.step(e["id"]), dependencies=tuple(e["dependencies"])) for e in entries[:count])
    return parse_plan({**data, "steps": entries[count:]}, finished={step.id: step for step in old})
