"""What was spent survives crashes of the program, and whatever happens to its files."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from trouper.actors.leasing import take_lease
from trouper.actors.limiter import Limiter
from trouper.actors.protocols import Spent
from trouper.adapters import spend_file
from trouper.adapters.spend_file import PROGRAMS, FileSpendLog, spend_directory
from trouper.runtime import Limits, RateBooks, open_system
from trouper.runtime._rate_window import SLACK, WINDOW

MINUTE = WINDOW + SLACK


class Wall:
    """A wall clock that can be set."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def spent(scope: str = "model", requests: int = 1, tokens: int = 10, age: float = 0.0) -> Spent:
    return Spent(scope=scope, requests=requests, tokens=tokens, age=age)


# ------------------------------------------------------------------ the limiter with a log
async def first_wait_of_a_new_program(directory: Path, wall: Wall, *, requests: int, tokens: int = 1) -> float:
    """How long the first lease of a limiter takes that starts with what is in the directory."""
    log = FileSpendLog(directory, wall=wall)
    books = RateBooks(Limits(rpm=5, tpm=1000, safety_margin=1.0))
    async with open_system() as system:
        limiter = await system.spawn(lambda: Limiter(books, spend=log), name="limiter")
        began = trio.current_time()
        for i in range(requests):
            await take_lease(limiter, str(i), tokens, scope="model")
        took = trio.current_time() - began
    log.close()
    return took


async def test_a_program_that_is_started_again_knows_what_it_has_spent(tmp_path, autojump_clock) -> None:
    """Five requests of the minute had gone; without the log another five would go at once."""
    wall = Wall()
    assert await first_wait_of_a_new_program(tmp_path, wall, requests=5) == 0.0
    wall.now += 20.0

    assert await first_wait_of_a_new_program(tmp_path, wall, requests=1) == pytest.approx(MINUTE - 20.0, abs=0.01)


async def test_tokens_are_remembered_too(tmp_path, autojump_clock) -> None:
    wall = Wall()
    await first_wait_of_a_new_program(tmp_path, wall, requests=2, tokens=500)
    wall.now += 45.0

    assert await first_wait_of_a_new_program(tmp_path, wall, requests=1) == pytest.approx(MINUTE - 45.0, abs=0.01)


async def test_what_is_older_than_a_minute_is_forgotten(tmp_path, autojump_clock) -> None:
    wall = Wall()
    await first_wait_of_a_new_program(tmp_path, wall, requests=5)
    wall.now += 62.0

    assert await first_wait_of_a_new_program(tmp_path, wall, requests=5) == 0.0


@pytest.mark.parametrize("back", [1.0, 3600.0, 1e8])
async def test_a_wall_clock_that_goes_back_costs_a_minute_at_most(back, tmp_path, autojump_clock) -> None:
    wall = Wall(2e8)
    await first_wait_of_a_new_program(tmp_path, wall, requests=5)
    wall.now -= back

    assert await first_wait_of_a_new_program(tmp_path, wall, requests=1) == pytest.approx(MINUTE, abs=0.01)


async def test_a_new_incarnation_of_the_limiter_does_not_count_the_log_twice(tmp_path, autojump_clock) -> None:
    wall = Wall()
    FileSpendLog(tmp_path, wall=wall).note([spent(requests=2)])
    books = RateBooks(Limits(rpm=5, tpm=1000, safety_margin=1.0))
    log = FileSpendLog(tmp_path, wall=wall)
    async with open_system() as system:
        for name in ("one", "two"):
            limiter = await system.spawn(lambda: Limiter(books, spend=log), name=name)
        for i in range(3):
            await take_lease(limiter, str(i), 1, scope="model")

        assert trio.current_time() == 0.0
        assert books.statistics(0.0)["model"].requests == 5


# ------------------------------------------------------------------ the files
def test_what_is_noted_is_loaded_with_its_age(tmp_path) -> None:
    wall = Wall()
    log = FileSpendLog(tmp_path, wall=wall)
    log.note([spent("a", 3, 30), spent("ü@b", 1, 5)])
    wall.now += 7.0
    log.note([spent("a", 1, 1)])
    wall.now += 2.0

    found = FileSpendLog(tmp_path, wall=wall).load()
    assert [(one.scope, one.requests, one.tokens, one.age) for one in found] == [
        ("a", 3, 30, 9.0),
        ("ü@b", 1, 5, 9.0),
        ("a", 1, 1, 2.0),
    ]


def test_nothing_is_younger_than_now_though_the_clock_went_back(tmp_path) -> None:
    wall = Wall()
    FileSpendLog(tmp_path, wall=wall).note([spent()])
    wall.now -= 500.0

    assert [one.age for one in FileSpendLog(tmp_path, wall=wall).load()] == [0.0]


def test_programs_side_by_side_have_a_file_each_and_read_all(tmp_path) -> None:
    one, two = FileSpendLog(tmp_path), FileSpendLog(tmp_path)
    one.note([spent(tokens=1)])
    two.note([spent(tokens=2)])

    assert len(list(tmp_path.iterdir())) == 2
    assert sorted(found.tokens for found in FileSpendLog(tmp_path).load()) == [1, 2]
    one.close()
    three = FileSpendLog(tmp_path)
    three.note([spent(tokens=3)])
    assert len(list(tmp_path.iterdir())) == 2  # the file that was let go is taken again
    assert sorted(found.tokens for found in FileSpendLog(tmp_path).load()) == [1, 2, 3]


def test_one_program_too_many_is_said_and_harms_nobody(tmp_path, caplog) -> None:
    logs = [FileSpendLog(tmp_path) for _ in range(PROGRAMS + 1)]
    for log in logs:
        log.note([spent()])

    assert len(FileSpendLog(tmp_path).load()) == PROGRAMS
    assert "cannot be written" in caplog.text


def test_the_file_does_not_grow_for_ever_and_forgets_nothing_of_the_last_minute(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(spend_file, "ROOM", 1000)
    wall = Wall()
    log = FileSpendLog(tmp_path, wall=wall)
    sizes = []
    for _ in range(5000):
        wall.now += 0.03
        log.note([spent(requests=2, tokens=7)])
        sizes.append(next(tmp_path.iterdir()).stat().st_size)
        if len(sizes) > 2 and sizes[-1] < sizes[-2] and wall.now - 1_000_000.0 > 2 * MINUTE:
            break  # it has just been written anew
    found = FileSpendLog(tmp_path, wall=wall).load()
    recent = [one for one in found if one.age < MINUTE]

    assert sizes[-1] < sizes[-2]
    assert max(sizes) < 200_000
    assert sum(one.requests for one in recent) == pytest.approx(2 * MINUTE / 0.03, rel=0.005)
    assert sum(one.tokens for one in recent) == pytest.approx(7 * MINUTE / 0.03, rel=0.005)


@pytest.mark.parametrize(
    "damage",
    [
        b'[1000000.0,"model",1',
        b"\x00" * 50,
        b"[]\n{}\nnull\n",
        b'["x","model",1,2]\n',
        b"\xff\xfe\n",
        b'[1e6,"m",1.5,2]\n',
    ],
)
def test_damaged_lines_are_left_out(damage, tmp_path) -> None:
    wall = Wall()
    log = FileSpendLog(tmp_path, wall=wall)
    log.note([spent(tokens=5)])
    log.close()
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes() + damage)

    assert [one.tokens for one in FileSpendLog(tmp_path, wall=wall).load()] == [5]


def test_a_new_line_after_a_torn_one_is_read(tmp_path) -> None:
    wall = Wall()
    log = FileSpendLog(tmp_path, wall=wall)
    log.note([spent(tokens=5)])
    log.close()
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes() + b'[1000000.0,"mod')
    again = FileSpendLog(tmp_path, wall=wall)
    again.note([spent(tokens=6)])

    assert [one.tokens for one in FileSpendLog(tmp_path, wall=wall).load()] == [5, 6]


def test_a_directory_that_cannot_be_used_is_said_once_and_nothing_fails(tmp_path, caplog) -> None:
    (tmp_path / "file").write_text("")
    log = FileSpendLog(tmp_path / "file" / "rates")

    assert log.load() == ()
    for _ in range(3):
        log.note([spent()])
    assert caplog.text.count("cannot be written") == 1
    log.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such permissions")
def test_the_files_are_nobody_elses_to_read(tmp_path) -> None:
    FileSpendLog(tmp_path / "rates").note([spent()])
    [file] = (tmp_path / "rates").iterdir()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_directory_follows_the_rule_of_xdg(tmp_path) -> None:
    assert spend_directory({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "trouper" / "rates"
    assert spend_directory({"XDG_STATE_HOME": "relative"}) == Path("~/.local/state/trouper/rates").expanduser()


@pytest.mark.io
@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_what_was_noted_survives_kill_9(tmp_path) -> None:
    """Each line is in the file before the program goes on: as many as it has said, or one more."""
    program = (
        "import sys\n"
        "from trouper.actors.protocols import Spent\n"
        "from trouper.adapters.spend_file import FileSpendLog\n"
        f"log = FileSpendLog({str(tmp_path)!r})\n"
        "n = 0\n"
        "while True:\n"
        "    log.note([Spent(scope='model', requests=1, tokens=1)])\n"
        "    n += 1\n"
        "    print(n, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= 50:
                break
        os.kill(child.pid, signal.SIGKILL)
        said = [int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    last = max([50, *said])

    found = sum(one.requests for one in FileSpendLog(tmp_path).load())
    assert last <= found <= last + 1


def test_a_line_is_plain_json(tmp_path) -> None:
    FileSpendLog(tmp_path, wall=Wall()).note([spent("model@1f", 2, 20)])
    [file] = tmp_path.iterdir()

    assert json.loads(file.read_text()) == [1_000_000.0, "model@1f", 2, 20]
