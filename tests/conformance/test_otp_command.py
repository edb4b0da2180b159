"""The command that replays recordings: it finds what differs, and says clearly what it cannot read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import kernel, model
from tests.conformance.otp import difference, main
from tests.conformance.scenarios import Child, Scenario, ScenarioError, dump, load, load_traces, op_term, term

ROOT = Path(__file__).parent.parent.parent

CRASHES = Scenario(
    name="crashes",
    strategy="one_for_one",
    intensity=1,
    period=5,
    auto_shutdown="never",
    children=(Child("a", "permanent", 1000), Child("b", "transient", "brutal_kill")),
    ops=(
        ("exit", "a", "crash"),
        ("exit", "b", "normal"),
        ("which",),
        ("exit", "a", ("boom", 3)),
        ("count",),
        ("stop",),
    ),
)
CRASHES_TRACE = """\
scenario crashes
  started a 1
  started b 1
op 1 {exit,a,crash} -> ok
  stopped a 1 crash
  started a 2
op 2 {exit,b,normal} -> ok
  stopped b 1 normal
op 3 which -> [{a,running},{b,undefined}]
op 4 {exit,a,{boom,3}} -> ok
  stopped a 2 {boom,3}
  sup shutdown
op 5 count -> sup_gone
op 6 stop -> ok
"""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "crashes.json"
    path.write_text(dump([CRASHES]))
    path.with_suffix(".txt").write_text(CRASHES_TRACE)
    return path


@pytest.mark.parametrize("options", [[], ["--model"]], ids=["kernel", "model"])
def test_equal_traces_are_counted_as_passed(recording, capsys, options) -> None:
    code = main([*options, str(recording), str(recording)])

    assert (code, capsys.readouterr().out) == (0, "2 passed, 0 failed\n")


@pytest.mark.parametrize("options", [[], ["--model"]], ids=["kernel", "model"])
def test_the_first_difference_is_shown_with_the_operation_under_way(recording, capsys, options) -> None:
    recording.with_suffix(".txt").write_text(CRASHES_TRACE.replace("started a 2", "started a 7"))

    assert main([*options, str(recording)]) == 1
    out = capsys.readouterr().out
    assert "crashes, at op 1 {exit,a,crash}:\n  expected: started a 7\n  got:      started a 2\n" in out
    assert out.endswith("\n0 passed, 1 failed\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("op 6 stop -> ok\n", ""), "expected: (nothing)\n  got:      op 6 stop -> ok"),
        (lambda text: text + "  sup shutdown\n", "expected: sup shutdown\n  got:      (nothing)"),
        (lambda text: text + "scenario more\nop 1 stop -> ok\n", "more: is recorded, but no such scenario is given"),
        (lambda text: text.replace("scenario crashes", "scenario other"), "crashes: has no recorded trace"),
    ],
)
def test_missing_and_extra_lines_and_scenarios_fail(recording, capsys, change, message) -> None:
    recording.with_suffix(".txt").write_text(change(CRASHES_TRACE))

    assert main(["--model", str(recording)]) == 1
    assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not JSON"),
        ("{}", "not a list of scenarios"),
        ("[]", "not a list of scenarios"),
        ('[{"name": "x"}]', "scenario x: `children` is missing"),
        (json.dumps([{"name": "x", "children": [{"id": 3}], "ops": []}]), "`strategy` is missing"),
        (dump([CRASHES]).replace('"count"', '"counts"'), 'scenario crashes: op 5: not an operation: ["counts"]'),
        (dump([CRASHES]).replace("one_for_one", "two_for_one"), "`strategy` is 'two_for_one', not one of one_for_one"),
        (dump([CRASHES]).replace('"brutal_kill"', "null"), "child 2: `shutdown` is null"),
        (dump([CRASHES]).replace('"id": "b"', '"id": 2'), "child 2: `id` is 2"),
        (dump([CRASHES, CRASHES]), "scenario crashes stands there twice"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_with_one_line(recording, capsys, text, message) -> None:
    recording.write_text(text)

    with pytest.raises(SystemExit) as caught:
        main([str(recording)])

    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--mode", "x.json"], ["missing.json"], ["--model"]])
def test_bad_usage_is_exit_code_2_with_one_line(capsys, arguments) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_the_recorded_traces_there_is_nothing_to_compare(recording, capsys) -> None:
    recording.with_suffix(".txt").unlink()

    with pytest.raises(SystemExit) as caught:
        main([str(recording)])

    assert caught.value.code == 2
    assert "crashes.txt: No such file" in capsys.readouterr().err


@pytest.mark.io
def test_it_is_a_command(recording) -> None:
    """`python -m tests.conformance.otp FILE.json`, from the root of the project."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.otp", str(recording)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "1 passed, 0 failed\n", "")


def test_of_a_supervisor_that_did_not_start_only_the_fact_is_compared() -> None:
    assert difference("x", ["start -> {error,{start_spec,whatever}}"], ["start -> {error,other}"]) is None
    assert difference("x", ["start -> {error,refused}"], ["  started a 1"]) is not None


@pytest.mark.parametrize("replay", [model.replay, kernel.replay], ids=["model", "kernel"])
@pytest.mark.parametrize(
    ("auto_shutdown", "restart", "why"),
    [
        ("never", "transient", "{bad_combination,[{auto_shutdown,never},{significant,true}]}"),
        ("any_significant", "permanent", "{bad_combination,[{restart,permanent},{significant,true}]}"),
    ],
)
def test_a_significant_child_where_none_may_be_is_refused(replay, auto_shutdown, restart, why) -> None:
    """Both as one of the first children, where no supervisor starts, and through `start_child`."""
    bad = Child("a", restart, 1000, significant=True)
    first = Scenario("first", "one_for_one", 1, 5, auto_shutdown, (bad,), (("which",),))
    later = Scenario("later", "one_for_one", 1, 5, auto_shutdown, (), (("start", bad), ("which",)))

    assert replay(first) == [f"start -> {{error,{{start_spec,{why}}}}}"]
    assert replay(later) == [f"op 1 {op_term(later.ops[0])} -> {{error,{why}}}", "op 2 which -> []"]


def test_a_file_written_by_dump_reads_back_as_it_was(recording) -> None:
    assert load(recording) == [CRASHES]
    assert list(load_traces(recording.with_suffix(".txt"))) == ["crashes"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("crash", "crash"),
        (["shutdown", "x"], "{shutdown,x}"),
        ([["a", 1], "b_2@c"], "{{a,1},b_2@c}"),
        ("Big", "'Big'"),
        ("two words", "'two words'"),
        ("end", "'end'"),
        ("it's", r"'it\'s'"),
        (True, "true"),
        (-3, "-3"),
        (0.5, "0.5"),
    ],
)
def test_values_are_printed_as_erlang_prints_them(value, text) -> None:
    assert term(value) == text


def test_a_value_that_is_no_term_is_refused() -> None:
    with pytest.raises(ScenarioError):
        term({"a": 1})
