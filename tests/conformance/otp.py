"""Replay recordings of a real OTP supervisor: `python -m tests.conformance.otp [--model] FILE.json...`.

`FILE.txt` beside each file says what OTP did. Every scenario is done by Trouper's kernel under a virtual clock, or with
`--model` by the model that the property tests compare the kernel with, and the two traces are compared line by line.
The end of the output is `N passed, M failed`, after the first difference if there is one.

Exit codes: 0 all equal, 1 something differs (or is recorded on one side only), 2 there is nothing to compare.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn

import attrs

from tests.conformance.scenarios import Scenario, ScenarioError, load, load_traces

USAGE = "usage: python -m tests.conformance.otp [--model] FILE.json..."
NOTHING = "(nothing)"

Replay = Callable[[Scenario], list[str]]


@attrs.frozen
class Difference:
    """The first line in which two traces of a scenario differ."""

    scenario: str
    op: str
    """The operation under way."""
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.scenario}, at {self.op}:\n  expected: {self.expected.strip()}\n  got:      {self.got.strip()}"


def difference(name: str, expected: Sequence[str], got: Sequence[str]) -> Difference | None:
    """Where the traces of the scenario part; None if they do not.

    Of a supervisor that did not start only this fact is compared: the reason is worded by whoever refuses.
    """
    op = "the start"
    for theirs, ours in zip_longest(expected, got, fillvalue=NOTHING):
        for line in (theirs, ours):
            if line.startswith("op "):
                op = line.split(" -> ", 1)[0]
        if theirs != ours:
            if op == "the start" and theirs.strip().startswith("start -> ") and ours.startswith("start -> "):
                return None
            return Difference(name, op, theirs, ours)
    return None


def compare(scenarios: Sequence[Scenario], traces: Mapping[str, Sequence[str]], replay: Replay) -> Iterator[str | None]:
    """For each scenario None if its trace is the recorded one, else what differs; also for those on one side only."""
    for scenario in scenarios:
        if scenario.name not in traces:
            yield f"{scenario.name}: has no recorded trace"
        else:
            found = difference(scenario.name, traces[scenario.name], replay(scenario))
            yield str(found) if found else None
    for name in sorted(traces.keys() - {scenario.name for scenario in scenarios}):
        yield f"{name}: is recorded, but no such scenario is given"


def main(arguments: Sequence[str]) -> int:
    """Run the command; gives its exit code."""
    options = {argument for argument in arguments if argument.startswith("-")}
    paths = [Path(argument) for argument in arguments if not argument.startswith("-")]
    if options & {"-h", "--help"}:
        print(__doc__)
        return 0
    if options - {"--model"} or not paths:
        _give_up(USAGE)
    try:
        recordings = [(path, load(path), load_traces(path.with_suffix(".txt"))) for path in paths]
    except ScenarioError as error:
        _give_up(str(error))
    # The scenarios are made of crashes: the kernel's log of them says nothing that a difference does not.
    logging.getLogger("trouper").addHandler(logging.NullHandler())
    replay = _replay(model="--model" in options)
    passed, failed = 0, 0
    for path, scenarios, traces in recordings:
        for problem in compare(scenarios, traces, replay):
            if problem is None:
                passed += 1
                continue
            if not failed:
                print(f"{path}: {problem}")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def _replay(*, model: bool) -> Replay:
    if model:
        from tests.conformance import model as replayer
    else:
        from tests.conformance import kernel as replayer
    return replayer.replay


def _give_up(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
