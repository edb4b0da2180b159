"""The command line as a user has it, from the tests of the command line."""

import pytest

from tests.cli.conftest import here, user

pytest.register_assert_rewrite("tests.execution.case", "tests.execution.everything", "tests.execution.thirty")

__all__ = ["here", "user"]
