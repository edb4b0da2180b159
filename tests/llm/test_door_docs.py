"""The page on talking to models has every fault that is tested, with the error that it ends in, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from tests.llm.wire_table import ANY, PLAIN, STREAM
from trouper.runtime import LLMError

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "talking-to-models.md"


def test_the_page_has_every_fault_with_its_error_and_no_other() -> None:
    rows = re.findall(
        r"^\| (.+) \| (any|whole|streamed) \| `(\w+)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    tested = {
        (name, which, row[1].__name__)
        for which, table in (("any", ANY), ("whole", PLAIN), ("streamed", STREAM))
        for name, row in table.items()
    }

    assert set(rows) == tested
    assert len(rows) == len(tested) >= 42


def test_every_kind_of_error_is_met_in_the_table() -> None:
    """The closed set: each of its kinds can happen, and nothing else does."""
    kinds = {row[1] for table in (ANY, PLAIN, STREAM) for row in table.values()}

    assert kinds == set(LLMError.__subclasses__())
