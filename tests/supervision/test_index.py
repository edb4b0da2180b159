"""INDEX.md is true: every entry has a test that exists or a reason, and no test of an entry is missing from it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = HERE.parent
ENTRIES = range(1, 92)


def rows() -> list[tuple[int, str, list[str], str]]:
    """Number, OTP's name, tests, reason."""
    found = []
    for line in (HERE / "INDEX.md").read_text(encoding="utf-8").splitlines():
        row = re.fullmatch(r"\| *(\d+) *\| *([\w/]+) *\|(.*)\|([^|]*)\|", line)
        if row is not None:
            found.append((int(row[1]), row[2], re.findall(r"`([^`]+)`", row[3]), row[4].strip()))
    return found


def names_of_tests(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def numbers(test: str) -> Iterator[int]:
    """The entries a test is named after: `test_case_07_...`, `test_cases_06_and_07_...`, `test_cases_36_to_44_...`."""
    if one := re.match(r"test_case_(\d+)_", test):
        yield int(one[1])
    elif two := re.match(r"test_cases_(\d+)_(and|to)_(\d+)_", test):
        first, last = int(two[1]), int(two[3])
        yield from range(first, last + 1) if two[2] == "to" else (first, last)


def named_after_entries() -> Mapping[int, set[str]]:
    """By entry, the tests of this folder and of `runtime` that have it in their name."""
    found: dict[int, set[str]] = {}
    for path in sorted((*HERE.glob("test_*.py"), *(TESTS / "runtime").glob("test_*.py"))):
        for test in names_of_tests(path):
            for number in numbers(test):
                found.setdefault(number, set()).add(f"{path.relative_to(TESTS).as_posix()}::{test}")
    return found


def test_every_entry_has_its_row_in_order() -> None:
    assert [number for number, *_ in rows()] == list(ENTRIES)
    assert len({name for _, name, *_ in rows()}) == len(ENTRIES)


@pytest.mark.parametrize("number", ENTRIES)
def test_every_entry_has_a_test_or_a_reason(number) -> None:
    """And not both: what has a test is applicable."""
    [(_, name, tests, reason)] = [row for row in rows() if row[0] == number]

    assert bool(tests) is not bool(reason), f"{number} {name}"


def test_every_test_in_the_index_exists() -> None:
    listed = {test for _, _, tests, _ in rows() for test in tests}
    by_file = {name: names_of_tests(TESTS / name) for name in {test.partition("::")[0] for test in listed}}

    assert [test for test in sorted(listed) if test.partition("::")[2] not in by_file[test.partition("::")[0]]] == []


def test_every_test_named_after_an_entry_is_in_its_row() -> None:
    listed = {number: set(tests) for number, _, tests, _ in rows()}
    missing = {number: tests - listed[number] for number, tests in named_after_entries().items()}

    assert {number: sorted(tests) for number, tests in missing.items() if tests} == {}
