"""`isolation="process"`: a tool that may do what it likes, in an interpreter that ends with its call."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import trio

from tests.tools import process_tools as tools
from trouper.actors.tool import ToolContext, tool
from trouper.actors.tool_place import ToolPlace
from trouper.adapters.config_model import ProcessLimits
from trouper.adapters.tool_process import ToolProcesses
from trouper.runtime import BadArguments, BadResult, PermissionRefused, ToolDied, ToolError

pytestmark = pytest.mark.io

CTX = ToolContext()
PLACE = ToolPlace(processes=ToolProcesses(ProcessLimits(memory_mb=512, cpu_seconds=4, file_mb=1)))
ROOT = Path(__file__).parents[2]


def lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


async def group_of(path):
    """The members of the group that the process noted in `path` belongs to."""
    with trio.fail_after(60):
        while not (path.exists() and path.read_text()):  # noqa: ASYNC110 - another process writes it
            await trio.sleep(0.01)
    pid = int(path.read_text())
    group = os.getpgid(pid)
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    members.append(int(entry.name))
            except ProcessLookupError:
                continue
    return members


async def test_it_runs_in_a_session_of_its_own_and_gets_its_arguments_as_declared():
    got = await tools.describe.call(
        {"colour": "red", "rows": [{"name": "a", "size": 2}, {"name": "b", "size": 3}], "path": "x"}, CTX, PLACE
    )

    assert got["pid"] != os.getpid()
    assert got["leads"] is True
    assert got["kinds"][:2] == ["Colour", "list"]
    assert got["sum"] == 5


async def test_wrong_arguments_start_no_process():
    class Nobody:
        async def run(self, call):
            raise AssertionError(call)

    with pytest.raises(BadArguments, match="colour"):
        await tools.describe.call({"colour": "blue", "rows": [], "path": "x"}, CTX, ToolPlace(processes=Nobody()))


async def test_the_context_travels_as_data_and_progress_comes_back():
    told = []
    ctx = ToolContext(
        run_id="r",
        step_id=7,
        attempt=2,
        idempotency_key="k",
        workspace="/w",
        deadline=trio.current_time() + 100,
        progress=told.append,
    )

    got = await tools.tell.call({}, ctx, PLACE)

    left = got.pop("left")
    assert got == {"run_id": "r", "step_id": 7, "attempt": 2, "key": "k", "workspace": "/w"}
    assert 0 < left <= 100
    assert told == ["half", "done ?"]


@pytest.mark.parametrize(
    ("how", "kind", "message", "effect"),
    [
        ("value", ToolError, "fail raised ValueError: bad", None),
        ("exit", ToolError, "fail raised SystemExit: 4", None),
        ("tool", ToolError, "no ink", False),
        ("arguments", BadArguments, "not like that", False),
        ("permission", PermissionRefused, "not you", False),
        ("surrogate", ToolError, "fail raised ValueError: half ?", None),
        ("generator", ToolError, "fail raised GeneratorExit", None),
    ],
)
async def test_what_it_raises_comes_back_as_the_same_kind(how, kind, message, effect):
    with pytest.raises(ToolError) as caught:
        await tools.fail.call({"how": how}, CTX, PLACE)

    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert caught.value.effect is effect
    assert "process_tools.py" in caught.value.__notes__[0]


async def test_what_a_tool_error_promises_comes_back_too():
    with pytest.raises(ToolError) as caught:
        await tools.fail.call({"how": "tool"}, CTX, PLACE)
    assert (caught.value.effect, caught.value.retry_possible) == (False, False)

    with pytest.raises(ToolError) as caught:
        await tools.fail.call({"how": "own"}, CTX, PLACE)
    assert (caught.value.kind, caught.value.effect, str(caught.value)) == ("out_of_ink", True, "no ink at all")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("exit", "die ended its process with exit code 3 and without a result"),
        ("silence", "die ended its process with exit code 5"),
        ("SIGSEGV", "die was killed by SIGSEGV"),
        ("SIGKILL", "die was killed by SIGKILL .by somebody"),
        ("SIGTERM", "die was killed by SIGTERM"),
        ("memory", r"over its memory of 512 MB .tools\.process\.memory_mb"),
        ("processor", r"over its processor time of 4 s .tools\.process\.cpu_seconds"),
    ],
)
async def test_a_death_without_an_answer_is_a_typed_error_that_says_how(how, message):
    with trio.fail_after(180), pytest.raises(ToolDied, match=message):
        await tools.die.call({"how": how}, CTX, PLACE)


async def test_a_file_larger_than_allowed_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    with pytest.raises(ToolError, match=r"File too large.*over its file size of 1 MB .tools\.process\.file_mb"):
        await tools.die.call({"how": "file"}, CTX, PLACE)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("text", "larger than 10,000,000 bytes"),
        ("object", "is of the class object, which is no data"),
        ("nan", "is nan"),
    ],
)
async def test_a_result_that_is_no_data_or_too_much_is_refused_as_anywhere(what, message):
    with pytest.raises(BadResult, match=message):
        await tools.give.call({"what": what}, CTX, PLACE)


async def test_what_it_prints_is_no_answer_and_it_has_nothing_to_read(capfd):
    assert await tools.chatter.call({}, CTX, PLACE) == ""
    out, err = capfd.readouterr()

    assert out == ""
    assert "forged" in err
    assert "aside" in err


@pytest.mark.parametrize("how", ["hang", "die", "end"])
async def test_children_and_grandchildren_end_with_the_call(how, tmp_path):
    """Whether it is cancelled, dies or gives a result: the whole group is killed."""
    pids = tmp_path / "pids"
    members = []

    async def cancel_when_started(scope):
        members.extend(await group_of(pids))
        scope.cancel()

    if how == "hang":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_when_started, nursery.cancel_scope)
            await tools.leave_behind.call({"pids": str(pids), "how": how}, CTX, PLACE)
        assert len(members) >= 3
    else:
        try:
            assert await tools.leave_behind.call({"pids": str(pids), "how": how}, CTX, PLACE) == "done"
        except ToolDied:
            assert how == "die"
        members.append(int(pids.read_text()))

    with trio.fail_after(60):
        while any(lives(pid) for pid in members):  # noqa: ASYNC110 - they are not our children
            await trio.sleep(0.01)


async def test_a_process_that_ignores_signals_is_killed_all_the_same(tmp_path):
    started = tmp_path / "started"
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tools.stubborn.call, {"started": str(started)}, CTX, PLACE)
            while not started.exists():  # noqa: ASYNC110 - another process makes it
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()


def test_it_ends_when_whoever_asked_is_killed(tmp_path):
    """Nobody is left who could kill it: it sees that its input ends, and kills itself with its children."""
    pids = tmp_path / "pids"
    script = textwrap.dedent(f"""
        import trio
        from tests.tools import process_tools as tools
        from trouper.actors.tool import ToolContext
        from trouper.actors.tool_place import ToolPlace
        from trouper.adapters.tool_process import ToolProcesses
        place = ToolPlace(processes=ToolProcesses())
        trio.run(tools.leave_behind.call, {{"pids": {str(pids)!r}, "how": "hang"}}, ToolContext(), place)
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    try:
        members = trio.run(group_of, pids)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()

    async def ended():
        with trio.fail_after(60):
            while any(lives(pid) for pid in members):  # noqa: ASYNC110 - they are not our children
                await trio.sleep(0.01)

    trio.run(ended)


async def test_without_processes_it_cannot_be_called():
    with pytest.raises(ToolError, match="wants a process of its own, and this call has no `processes`") as caught:
        await tools.chatter.call({}, CTX)
    assert caught.value.effect is False


async def test_a_process_starts_no_processes_for_tools():
    """Else a script that starts a run when it is imported would start processes for ever."""
    with pytest.raises(ToolError, match="cannot start another one"):
        await tools.nested.call({}, CTX, PLACE)


# ------------------------------------------------------------ which functions
def test_a_function_that_another_interpreter_cannot_import_is_refused_at_once():
    import functools

    def local(): ...

    for function, why in [
        (local, "defined inside test_a_function_that_another"),
        (lambda: 1, "a lambda"),
        (functools.partial(print), "a partial"),
        (ToolPlace().report_blocked, "a method"),
    ]:
        with pytest.raises(TypeError, match=f"isolation='process' wants a function .* and this is {why}"):
            tool(isolation="process", name="x")(function)


@pytest.mark.parametrize("as_module", [False, True])
def test_the_function_may_stand_in_a_script_or_in_the_current_directory(as_module, tmp_path):
    (tmp_path / "beside.py").write_text(
        "from trouper.actors.tool import tool\n"
        "@tool(isolation='process')\n"
        "def twice(n: int) -> int:\n    return 2 * n\n"
    )
    (tmp_path / "script.py").write_text(
        textwrap.dedent("""
            import trio
            from beside import twice
            from trouper.actors.tool import ToolContext, tool
            from trouper.actors.tool_place import ToolPlace
            from trouper.adapters.tool_process import ToolProcesses

            @tool(isolation="process")
            def thrice(n: int) -> int:
                return 3 * n

            async def main():
                place = ToolPlace(processes=ToolProcesses())
                for tool in (twice, thrice):
                    print(await tool.call({"n": 1}, ToolContext(), place))

            if __name__ == "__main__":
                trio.run(main)
        """)
    )
    command = [sys.executable, *(["-m", "script"] if as_module else ["script.py"])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == ("2\n3\n", "")


async def test_a_function_that_its_process_cannot_find_was_not_called(monkeypatch):
    monkeypatch.setattr(tools.chatter.function, "__qualname__", "gone")

    with pytest.raises(ToolError, match="chatter cannot be found in its process: AttributeError") as caught:
        await tools.chatter.call({}, CTX, PLACE)
    assert (caught.value.effect, caught.value.retry_possible) == (False, False)
