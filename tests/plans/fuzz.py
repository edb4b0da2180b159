"""A million random plans, none of which may hang or raise anything untyped: `python -m tests.plans.fuzz`.

Every case is parsed, streamed in random pieces, and, if it is a plan, written out, read back and resolved against
random results. A case that fails is printed with the command that repeats it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import attrs

from tests.plans.fuzz_cases import Cases
from trouper.runtime import Plan, PlanError, PlanStream, Step, StepError, check_json, parse_plan, problems_json
from trouper.runtime._refs import INDEX, ITEM

_BLOCK = 2000
_SECONDS_A_BLOCK = 600
"""If so many cases take longer one of them hangs: that is a hundred times what they need."""
_JSON = (dict, list, str, int, float, bool, type(None))


@attrs.define
class Tally:
    """What came of so many cases."""

    seen: Counter[str] = attrs.Factory(Counter[str])
    problems: Counter[str] = attrs.Factory(Counter[str])
    failed: list[str] = attrs.Factory(list[str])
    slowest: tuple[float, int] = (0.0, -1)

    def add(self, other: Tally) -> None:
        """Count another tally in."""
        self.seen += other.seen
        self.problems += other.problems
        self.failed += other.failed
        self.slowest = max(self.slowest, other.slowest)


def judge(cases: Cases, source: object) -> tuple[Plan | None, tuple[str, ...]]:
    """Put one case through everything that reads plans.

    Returns:
        The plan, if it is one, and the kinds of what was wrong with it.

    Raises:
        AssertionError: a promise was broken. Whatever else comes out is one as well.
    """
    plan: Plan | None = None
    wrong: tuple[str, ...] = ()
    try:
        plan = parse_plan(source)  # type: ignore[arg-type]
    except PlanError as error:
        wrong = tuple(problem.kind for problem in error.problems)
        json.dumps(problems_json(error), allow_nan=False)
        str(error).encode()
    assert bool(wrong) is (plan is None)
    if isinstance(source, str):
        _stream(cases, source, plan)
    if plan is not None:
        _use(cases, plan)
    return plan, wrong


def _stream(cases: Cases, text: str, plan: Plan | None) -> None:
    stream = PlanStream()
    given = tuple(step for piece in cases.cut(text) for step in stream.feed(piece))
    assert stream.text == text
    if plan is None or stream.stale:
        return
    assert not stream.broken
    if "\\u" in text.lower():  # with half a character in it the stream may give up
        assert given == plan.steps[: len(given)]
    else:
        assert given == plan.steps


def _use(cases: Cases, plan: Plan) -> None:
    """Everything a run does with a plan before it calls tools."""
    json.dumps(check_json(plan), allow_nan=False)
    assert sorted(plan.order) == sorted(step.id for step in plan.steps)
    assert len(plan.critical_path) == len(plan.levels)
    assert plan.as_mermaid()
    written = plan.as_json()
    assert parse_plan(written) == plan
    assert parse_plan(json.dumps(written, allow_nan=False)) == plan
    results: dict[int, object] = {step: cases.any_value() for step in plan.all_ids if cases.random.random() < 0.9}
    results |= {ITEM: cases.any_value(), INDEX: 0}
    before = json.dumps(results)
    for step in _all_steps(plan):
        _resolve(step, results)
    assert json.dumps(results) == before


def _all_steps(plan: Plan) -> Iterator[Step]:
    for step in plan.steps:
        yield step
        if step.plan is not None:
            yield from _all_steps(step.plan)


def _resolve(step: Step, results: dict[int, object]) -> None:
    compiled = [step.inputs, *step.templates.values()]
    compiled += [call.inputs for call in (step.fallback, step.compensate) if call is not None]
    if step.plan is not None and step.plan.outputs is not None:
        compiled.append(step.plan.outputs)
    for lenient in (False, True):
        for each in compiled:
            _check(partial(each.resolve, results, lenient=lenient), *_JSON)
        if step.guard is not None:
            _check(partial(step.guard.holds, results, lenient=lenient), bool)
        if step.for_each is not None:
            _check(partial(step.for_each.elements, results, lenient=lenient), list)


def _check(work: Callable[[], object], *types: type) -> None:
    """The work gives one of these, or a typed error that says why not."""
    try:
        assert isinstance(work(), types)
    except StepError as error:
        str(error).encode()


def run(seed: int, numbers: range) -> Tally:
    """Judge the cases with these numbers."""
    cases = Cases(seed)
    tally = Tally()
    for number in numbers:
        began = time.perf_counter()
        kind, source = cases.case(number)
        try:
            plan, wrong = judge(cases, source)
        except Exception:  # noqa: BLE001 - that is what is looked for
            again = f"python -m tests.plans.fuzz --seed {seed} --only {number}"
            tally.failed.append(f"{traceback.format_exc()}\n{kind} {number}: {source!r:.500}\n{again}")
        else:
            tally.seen[f"{kind}: {'no plan' if plan is None else 'a plan'}"] += 1
            tally.problems.update(set(wrong))
        tally.slowest = max(tally.slowest, (time.perf_counter() - began, number))
    return tally


def _block(task: tuple[int, range]) -> Tally:
    faulthandler.dump_traceback_later(_SECONDS_A_BLOCK, exit=True)
    tally = run(*task)
    faulthandler.cancel_dump_traceback_later()
    return tally


def main(arguments: list[str] | None = None) -> int:
    """Run and print what came of it; 0 if nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.plans.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000, help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other cases (default %(default)s)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one case again")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default %(default)s)")
    chosen = parser.parse_args(arguments)
    blocks = _blocks(chosen.cases) if chosen.only is None else [range(chosen.only, chosen.only + 1)]
    whole = Tally()
    began = time.perf_counter()
    for tally in _tallies(chosen.seed, blocks, chosen.jobs):
        whole.add(tally)
        for failure in tally.failed:
            print(failure, flush=True)
    for name, count in (*sorted(whole.seen.items()), *sorted(whole.problems.items())):
        print(f"{name:24} {count:9,}")
    seconds, number = whole.slowest
    cases = whole.seen.total() + len(whole.failed)
    print(f"{cases:,} cases in {time.perf_counter() - began:.0f} s, {len(whole.failed)} failed; ", end="")
    print(f"the slowest, {number}, took {seconds:.3f} s")
    return 1 if whole.failed else 0


def _tallies(seed: int, blocks: list[range], jobs: int) -> Iterator[Tally]:
    if len(blocks) == 1:
        yield run(seed, blocks[0])
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_block, [(seed, block) for block in blocks])


def _blocks(count: int) -> list[range]:
    return [range(first, min(first + _BLOCK, count)) for first in range(0, count, _BLOCK)]


if __name__ == "__main__":
    sys.exit(main())
