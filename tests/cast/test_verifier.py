"""The verifier: what a check says, what it sees, and what it never sees."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypedDict

import pytest
import trio
import trio.testing

from trouper.actors.messages import VerifyStep
from trouper.actors.outcome import Verdict, VerdictKind
from trouper.actors.protocols import Evidence, Json
from trouper.actors.secrets import MARK
from trouper.actors.tool import Checked, Effect, Tool, tool
from trouper.actors.verifier import Verifier, judge, question_on
from trouper.runtime import Actor, AskTimeout, Ref, open_system

Check = Callable[[Mapping[str, object], Json, Evidence], Awaitable[object]]


class Issued(TypedDict):
    """What a tool gives that hands out tokens."""

    token: int


class Files:
    """Evidence: files in memory, and which of them were read."""

    def __init__(self, **files: str) -> None:
        self.files = files
        self.read_names: list[str] = []

    async def read(self, path: str) -> bytes | None:
        self.read_names.append(path)
        text = self.files.get(path.partition(".")[0])
        return text.encode() if text is not None else None


def a_tool(check: Check | None = None, gives: type = dict) -> Tool:
    async def work(**parameters: object) -> object:
        return parameters

    work.__annotations__["return"] = gives
    return tool(effect=Effect.PURE, verify=check)(work)  # type: ignore[call-overload]


@asynccontextmanager
async def a_verifier(of: Tool, files: Files | None = None) -> AsyncIterator[Ref[Actor]]:
    async with open_system() as system:
        yield await system.spawn(Verifier, {of.name: of}, files or Files(), name="verifier")


async def verdict_on(of: Tool, parameters: dict[str, object], result: object, files: Files | None = None) -> Verdict:
    async with a_verifier(of, files) as verifier:
        return await verifier.ask(question_on(of, parameters, result))


# ------------------------------------------------------------------ the rule
@pytest.mark.parametrize(
    ("declared", "checked", "kind", "confidence"),
    [
        ([], Checked(), VerdictKind.UNVERIFIABLE, 0.0),
        ([], Checked(confidence=0.9), VerdictKind.UNVERIFIABLE, 0.0),
        ([], Checked((), ("counted",)), VerdictKind.OK, 1.0),
        ([], Checked((), ("counted",), confidence=0.4), VerdictKind.OK, 0.4),
        ([], Checked((), ("counted",), confidence=0.0), VerdictKind.OK, 0.0),
        ([], Checked(("wrong",), ("counted",)), VerdictKind.REFUTED, 1.0),
        ([], Checked(("wrong",), ("counted",), confidence=0.3), VerdictKind.REFUTED, 0.3),
        (["no number"], Checked((), ("counted",), confidence=0.3), VerdictKind.REFUTED, 1.0),
    ],
)
def test_a_verdict_is_as_sure_as_its_check_and_a_broken_declaration_is_certain(
    declared: list[str], checked: Checked, kind: VerdictKind, confidence: float
) -> None:
    verdict = judge(declared, checked)

    assert (verdict.verdict, verdict.confidence) == (kind, confidence)
    assert verdict.problems == (*declared, *checked.problems)


@pytest.mark.parametrize("confidence", [-0.1, 1.1, math.nan])
def test_a_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        Checked(confidence=confidence)


def test_checks_together_are_as_sure_as_the_less_sure() -> None:
    sure, less, silent = Checked((), ("a",), confidence=0.9), Checked((), ("b",), confidence=0.4), Checked((), ("c",))

    assert (sure + less).confidence == (less + silent).confidence == 0.4
    assert (silent + silent).confidence is None


# ------------------------------------------------------------------ checks
async def test_the_tools_own_check_decides() -> None:
    async def check(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:
        fair = result == {"sum": parameters["a"]}
        return Checked(() if fair else ("another sum",), ("added again",), confidence=0.7)

    work = a_tool(check)
    right = await verdict_on(work, {"a": 1}, {"sum": 1})
    wrong = await verdict_on(work, {"a": 1}, {"sum": 2})

    assert (right.verdict, right.confidence, right.checks) == (VerdictKind.OK, 0.7, ("added again",))
    assert (wrong.verdict, wrong.confidence, wrong.problems) == (VerdictKind.REFUTED, 0.7, ("another sum",))


@pytest.mark.parametrize(("found", "kind"), [([], VerdictKind.OK), (["wrong"], VerdictKind.REFUTED)])
async def test_a_list_of_problems_is_the_short_form_of_a_check(found: list[str], kind: VerdictKind) -> None:
    async def check(*_: object) -> list[str]:
        return found

    assert (await verdict_on(a_tool(check), {}, {})).verdict is kind


@pytest.mark.parametrize("found", ["wrong", True, None, 1])
async def test_a_check_that_gives_back_something_else_is_no_verdict(found: object) -> None:
    """A text would read as a list of one-letter problems, None as everything being fine."""

    async def check(*_: object) -> object:
        return found

    verdict = await verdict_on(a_tool(check), {}, {})

    assert (verdict.verdict, verdict.confidence) == (VerdictKind.UNVERIFIABLE, 0.0)
    assert "give back a Checked, or a list of problems" in verdict.problems[0]


async def test_a_check_that_raises_is_no_verdict_and_the_verifier_goes_on() -> None:
    async def check(parameters: Mapping[str, object], *_: object) -> Checked:
        return Checked((), (f"{1 / int(str(parameters['n']))}",))

    work = a_tool(check)
    async with a_verifier(work) as verifier:
        failed = await verifier.ask(question_on(work, {"n": 0}, {}))
        fine = await verifier.ask(question_on(work, {"n": 1}, {}))

        assert failed.verdict is VerdictKind.UNVERIFIABLE
        assert failed.problems == ("the check of 'work' raised ZeroDivisionError: division by zero",)
        assert (fine.verdict, verifier.incarnation) == (VerdictKind.OK, 1)


@pytest.mark.parametrize(
    "error", [SystemExit(1), trio.Cancelled._create(), BaseExceptionGroup("", [SystemExit(2), ValueError("x")])]
)
async def test_a_check_that_would_end_everybody_ends_only_itself(error: BaseException) -> None:
    """`sys.exit`, the Cancelled of a scope that is not ours: the author's code has failed, nobody is cancelled."""

    async def check(*_: object) -> Checked:
        raise error

    work = a_tool(check)
    async with a_verifier(work) as verifier:
        verdict = await verifier.ask(question_on(work, {}, {}))

        assert (verdict.verdict, verifier.incarnation) == (VerdictKind.UNVERIFIABLE, 1)
        assert type(error).__name__ in verdict.problems[0]


async def test_a_withdrawn_question_cancels_its_check(autojump_clock) -> None:
    cancelled = trio.Event()

    async def check(*_: object) -> Checked:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.set()
            raise

    work = a_tool(check)
    async with a_verifier(work) as verifier:
        with pytest.raises(AskTimeout):
            await verifier.ask(question_on(work, {}, {}), timeout=1.0)
        await trio.testing.wait_all_tasks_blocked()

        assert (cancelled.is_set(), verifier.incarnation) == (True, 1)


async def test_a_check_that_swallows_its_cancellation_again_and_again_is_closed(autojump_clock) -> None:
    """Else nobody could ever stop the verifier, and the program would not end."""
    met = 0

    async def check(*_: object) -> Checked:
        nonlocal met
        while met < 100_000:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                met += 1
        return Checked((), ("at last",))

    work = a_tool(check)
    async with a_verifier(work) as verifier:
        with pytest.raises(AskTimeout):
            await verifier.ask(question_on(work, {}, {}), timeout=1.0)

    assert met < 1000


async def test_a_check_that_calls_sys_exit_before_it_waits_ends_only_itself() -> None:
    """Also as a plain function that is no coroutine function at all."""

    def check(*_: object) -> Awaitable[Checked]:
        raise SystemExit(1)

    work = a_tool(check)
    async with a_verifier(work) as verifier:
        verdict = await verifier.ask(question_on(work, {}, {}))

        assert (verdict.verdict, verifier.incarnation) == (VerdictKind.UNVERIFIABLE, 1)


async def test_a_result_against_the_declaration_is_refuted_whatever_the_check_says() -> None:
    async def check(*_: object) -> Checked:
        return Checked((), ("looked",))

    verdict = await verdict_on(a_tool(check, gives=int), {}, "twelve")

    assert (verdict.verdict, verdict.confidence) == (VerdictKind.REFUTED, 1.0)


async def test_checks_run_side_by_side_and_a_slow_one_holds_up_nobody(autojump_clock) -> None:
    async def check(parameters: Mapping[str, object], *_: object) -> Checked:
        await trio.sleep(float(str(parameters["seconds"])))
        return Checked((), ("waited",))

    work, ended = a_tool(check), []

    async def ask(seconds: float) -> None:
        await verifier.ask(question_on(work, {"seconds": seconds}, {}))
        ended.append((seconds, trio.current_time() - began))

    async with a_verifier(work) as verifier:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for seconds in (9.0, 1.0, 2.0):
                nursery.start_soon(ask, seconds)

    assert ended == [(1.0, 1.0), (2.0, 2.0), (9.0, 9.0)]


# ------------------------------------------------------------------ secrets
async def test_a_check_sees_the_step_and_none_of_its_secrets() -> None:
    seen: list[object] = []

    async def check(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:
        seen.extend((dict(parameters), result))
        return Checked((), ("looked",))

    work = a_tool(check)
    question = question_on(
        work,
        {"user": "ann", "password": "hunter2", "url": "https://example.org/?k=s3cr3t"},
        {"session": {"token": "abc"}, "rows": 3},
        known=("s3cr3t",),
    )
    async with a_verifier(work) as verifier:
        verdict = await verifier.ask(question)

    assert seen == [
        {"user": "ann", "password": MARK, "url": f"https://example.org/?k={MARK}"},
        {"session": {"token": MARK}, "rows": 3},
    ]
    assert verdict.verdict is VerdictKind.OK
    assert all(secret not in repr(question) for secret in ("hunter2", "s3cr3t", "abc"))


async def test_a_check_of_what_is_not_secret_still_refutes() -> None:
    async def check(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:
        assert isinstance(result, dict)
        return Checked(() if result["user"] == parameters["user"] else ("another user",), ("the user",))

    work = a_tool(check)

    assert (await verdict_on(work, {"user": "ann", "password": "p"}, {"user": "bob"})).verdict is VerdictKind.REFUTED
    assert (await verdict_on(work, {"user": "ann", "password": "p"}, {"user": "ann"})).verdict is VerdictKind.OK


async def test_a_secret_compared_with_itself_still_agrees() -> None:
    async def check(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:
        assert isinstance(result, dict)
        return Checked(() if result["token"] == parameters["token"] else ("another token",), ("the token",))

    assert (await verdict_on(a_tool(check), {"token": "t1"}, {"token": "t1"})).verdict is VerdictKind.OK


async def test_a_number_that_is_secret_is_still_what_its_tool_declares() -> None:
    """The declaration is compared before it is taken out; a `[secret]` would be no number."""
    fine = question_on(a_tool(gives=Issued), {}, {"token": 12})
    wrong = question_on(a_tool(gives=Issued), {}, {"token": "twelve"})

    assert (fine.result, fine.declared) == ({"token": MARK}, ())
    assert wrong.declared != ()


async def test_a_blurred_text_does_not_excuse_what_its_tool_declares() -> None:
    async def check(*_: object) -> list[str]:
        return ["it reads otherwise"]

    work = a_tool(check, gives=int)
    async with a_verifier(work) as verifier:
        verdict = await verifier.ask(question_on(work, {}, "a s3cr3t", known=("s3cr3t",)))

    assert verdict.verdict is VerdictKind.REFUTED


async def test_a_text_that_was_blurred_refutes_nothing() -> None:
    """The check compares with the file as it is; that they differ is our own doing."""

    async def check(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:
        assert isinstance(result, dict)
        data = await evidence.read("config.txt")
        return Checked(() if data == str(result["content"]).encode() else ("it reads otherwise",), ("read again",))

    work, files = a_tool(check), Files(config="key = s3cr3t")
    async with a_verifier(work, files) as verifier:
        clear = await verifier.ask(question_on(work, {}, {"content": "key = another"}, known=("s3cr3t",)))
        blurred = await verifier.ask(question_on(work, {}, {"content": "key = s3cr3t"}, known=("s3cr3t",)))

    assert clear.verdict is VerdictKind.REFUTED
    assert (blurred.verdict, blurred.confidence) == (VerdictKind.UNVERIFIABLE, 0.0)
    assert blurred.problems == ("a secret was taken out of what was checked", "it reads otherwise")


async def test_claims_leave_out_the_lines_that_a_secret_was_taken_from() -> None:
    work, files = a_tool(), Files(config="key = s3cr3t\nport = 80\n")
    matches: list[Json] = [
        {"path": "config.txt", "line": 1, "text": "key = s3cr3t"},
        {"path": "config.txt", "line": 2, "text": "port = 80"},
    ]
    async with a_verifier(work, files) as verifier:
        fine = await verifier.ask(question_on(work, {}, {"matches": matches}, known=("s3cr3t",)))
        matches[1] = {"path": "config.txt", "line": 2, "text": "port = 81"}
        wrong = await verifier.ask(question_on(work, {}, {"matches": matches}, known=("s3cr3t",)))

    assert (fine.verdict, fine.checks) == (VerdictKind.OK, ("1 of 2 matches read again",))
    assert wrong.problems == ("config.txt:2 does not read 'port = 81'",)


async def test_a_question_that_says_nothing_of_the_declaration_is_looked_at_as_it_is() -> None:
    work = a_tool(gives=int)
    async with a_verifier(work) as verifier:
        verdict = await verifier.ask(VerifyStep(action="work", parameters={}, result="twelve"))

    assert verdict.verdict is VerdictKind.REFUTED
