"""`run_in_session`: what a tool starts ends with the tool, with all that it has started in turn."""

import os
import sys
from pathlib import Path

import pytest
import trio

from trouper.actors.tool_children import Finished, run_in_session
from trouper.runtime import BadResult

pytestmark = pytest.mark.io

FAMILY = "sleep 600 & sleep 600 & echo $$ $!"
"""A shell with two children; the last one's number is printed."""


def lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


async def gone(pids):
    with trio.fail_after(60):
        while any(lives(pid) for pid in pids):  # noqa: ASYNC110 - they are not our children
            await trio.sleep(0.01)


async def test_it_gives_what_was_printed_and_the_exit_code():
    script = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.stderr.write('aside'); sys.exit(3)"

    done = await run_in_session([sys.executable, "-c", script], stdin=b"text")

    assert done == Finished(returncode=3, stdout=b"TEXT", stderr=b"aside")


async def test_a_command_that_reads_nothing_is_fine():
    done = await run_in_session(["true"], stdin=b"x" * 1_000_000)

    assert done.returncode == 0


async def test_what_a_command_leaves_in_the_background_ends_with_it():
    """The background holds the pipes open, and that is no reason to wait for it."""
    with trio.fail_after(60):
        done = await run_in_session(["sh", "-c", FAMILY])

    await gone([int(pid) for pid in done.stdout.split()])


async def test_cancelling_ends_children_and_grandchildren(tmp_path):
    pids = tmp_path / "pids"
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_in_session, ["sh", "-c", f"({FAMILY}) > {pids}; wait; sleep 600"])
            while not (pids.exists() and pids.read_text()):  # noqa: ASYNC110 - another process writes it
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    await gone([int(pid) for pid in pids.read_text().split()])


async def test_too_much_output_ends_it():
    with trio.fail_after(60), pytest.raises(BadResult, match="yes printed more than 1,000 bytes and was stopped"):
        await run_in_session(["yes"], max_output=1000)


async def test_output_that_just_fits_is_whole():
    done = await run_in_session([sys.executable, "-c", "print('x' * 999)"], max_output=1000)

    assert len(done.stdout) == 1000


async def test_a_descendant_in_a_session_of_its_own_does_not_hold_us_up():
    """It escapes, and its hold on our pipe is given a second."""
    script = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(30)\nelse:\n    print(os.getpid())"
    with trio.fail_after(20):
        done = await run_in_session([sys.executable, "-c", script])

    assert done.returncode == 0
    assert done.stdout


async def test_a_command_that_is_not_there_cannot_be_started():
    with pytest.raises(FileNotFoundError):
        await run_in_session(["there-is-no-such-command"])


async def test_a_signal_is_told_as_a_negative_number():
    done = await run_in_session(["sh", "-c", "kill -TERM $$"])

    assert done.returncode == -15


async def test_environment_and_directory_are_handed_on(tmp_path):
    done = await run_in_session(["sh", "-c", "pwd; echo $WORD"], cwd=tmp_path, env={**os.environ, "WORD": "yes"})

    assert done.stdout.decode().split() == [str(tmp_path), "yes"]
