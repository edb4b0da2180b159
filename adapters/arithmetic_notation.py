"""Expressions as people write them, rewritten for Python: `17% of 2340`, `2^10`, `3 x 4`, `1,000`.

What could mean two things is refused: a wrong number is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import attrs

from trouper.runtime import BadArguments

MAX_LENGTH = 1000

_SIGNS = str.maketrans(
    {
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{MIDDLE DOT}": "*",
        "\N{DIVISION SIGN}": "/",
        "\N{MINUS SIGN}": "-",
        "\N{SQUARE ROOT}": " sqrt",
        "\N{GREEK SMALL LETTER PI}": " pi ",
        "^": "**",
    }
)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[xX](?=[\d.(])|[A-Za-z_]\w*)|(?P<operator>\*\*|//|[-+*/%(),])|(?P<wrong>\S))"
)
_ENDS = re.compile(r"\)$|[\w.]$")


@attrs.define
class _Rewriting:
    expression: str
    functions: Collection[str]
    constants: Collection[str]
    out: list[str] = attrs.field(factory=list)
    calls: list[bool] = attrs.field(factory=list)
    """For each open parenthesis whether it is a function's."""

    def operand_before(self) -> bool:
        return bool(self.out) and bool(_ENDS.search(self.out[-1]))

    def wrong(self, why: str) -> BadArguments:
        return BadArguments(f"expression {shortened(self.expression)}: {why}")


def rewritten(expression: str, functions: Collection[str], constants: Collection[str]) -> str:
    """The expression in Python's notation, with no names but these.

    Raises:
        BadArguments: something in it is neither number, function nor operator, or is ambiguous.
    """
    if len(expression) > MAX_LENGTH:
        raise BadArguments(f"expression: {len(expression):,} characters, at most {MAX_LENGTH:,}")
    state = _Rewriting(expression, functions, constants)
    tokens = list(_TOKEN.finditer(expression.translate(_SIGNS).strip().removesuffix("=").rstrip()))
    if not tokens:
        raise state.wrong("it is empty")
    for i, token in enumerate(tokens):
        _rewrite(state, token, tokens, i)
    return "".join(state.out)


def _rewrite(state: _Rewriting, token: re.Match[str], tokens: Sequence[re.Match[str]], i: int) -> None:
    text = token[0].strip()
    after = tokens[i + 1][0].strip() if i + 1 < len(tokens) else ""
    if token["wrong"]:
        raise state.wrong(f"{text!r} is neither a number, a function nor an operator")
    if token["number"]:
        _number(state, text)
    elif token["name"]:
        state.out.append(_name(state, text, after))
    elif text == "%":
        _percent(state, token, after)
    elif text == "(":
        call = bool(state.out) and state.out[-1] in state.functions
        if state.operand_before() and not call:
            raise state.wrong("there is no operator before '('")
        state.calls.append(call)
        state.out.append("(")
    elif text == ")":
        if state.calls:
            state.calls.pop()
        state.out.append(")")
    elif text == "," and not (state.calls and state.calls[-1]):
        raise state.wrong("a comma stands between arguments of a function, or before three digits: write 1.5, or 1,500")
    else:
        state.out.append(text)


def _number(state: _Rewriting, text: str) -> None:
    if state.operand_before():
        raise state.wrong(f"there is no operator before {text}")
    if not any(state.calls):
        state.out.append(_plain(text.replace(",", "")))
        return
    first, *more = text.split(",")
    # max(100,200) has two arguments. max(1,000, 2) was meant to have two, and mean(1,200, 1,400) as well.
    if more and (any(group.startswith("0") for group in more) or ", " in state.expression):
        raise state.wrong(f"{text} inside a function is ambiguous; write it without commas")
    state.out.append(_plain(first))
    for group in more:
        state.out += [",", _plain(group)]


def _plain(number: str) -> str:
    """A number without leading zeros, which Python refuses."""
    return number if re.search(r"[.eE]", number) else number.lstrip("0") or "0"


def _name(state: _Rewriting, text: str, after: str) -> str:
    name = text.lower()
    if name == "x" and state.operand_before() and re.match(r"[\w.(]", after):
        if state.out[-1] == "0":
            raise state.wrong("hexadecimal numbers are not understood")
        return "*"
    if name == "mod" and state.operand_before():
        return "%"
    if name == "of":
        if not (state.out and state.out[-1].endswith("/100)")):
            raise state.wrong("'of' stands after a percentage: 17% of 2340")
        return "*"
    known = state.functions if after == "(" else state.constants
    if name not in known:
        names = ", ".join([*state.constants, *state.functions])
        raise state.wrong(f"{text!r} is unknown (or a function without parentheses); there are {names}")
    if state.operand_before():
        raise state.wrong(f"there is no operator before {text}")
    return name


def _percent(state: _Rewriting, token: re.Match[str], after: str) -> None:
    """A percent sign: `17% of`, `17% * 2`, or what is left of a division: `17 % 5`."""
    if not state.operand_before():
        raise state.wrong("'%' stands after a number")
    attached = not token[0][0].isspace()
    if after and (after[0].isalnum() or after[0] in "(._") and after.lower() != "of" and after.lower() != "x":
        state.out.append("%")
        return
    if after in ("+", "-") and not attached:
        raise state.wrong("'%' with a space before and a sign behind could mean two things; write 17% or mod")
    start = _operand_start(state.out)
    before = state.out[start - 1] if start else ""
    if before in ("+", "-") and start > 1 and after.lower() not in ("of", "*", "/", "x"):
        raise state.wrong("adding a percentage could mean two things; write 100 * 1.10, or 100 + 0.10")
    state.out[start:] = [f"({''.join(state.out[start:])}/100)"]


def _operand_start(out: Sequence[str]) -> int:
    """Where the operand begins that ends the list: a number, a name, or a parenthesis with its function."""
    at = len(out) - 1
    if out[at] == ")":
        depth = 0
        while at >= 0:
            depth += (out[at] == ")") - (out[at] == "(")
            if depth == 0:
                break
            at -= 1
        if at > 0 and out[at - 1].isidentifier():
            at -= 1
    return max(at, 0)


def shortened(expression: str) -> str:
    """The expression as a message shows it."""
    text = repr(expression)
    return text if len(text) <= 80 else text[:77] + "...'"
