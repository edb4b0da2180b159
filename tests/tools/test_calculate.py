"""calculate: exact where it can be, bounded, and refusing what could mean two things."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.adapters.arithmetic import evaluate
from trouper.adapters.arithmetic_check import value_of
from trouper.runtime import BadArguments, ToolError


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("17% of 2340", 397.8),
        ("(128 + 256) / 3", 128),
        ("3 * 24 * 60 * 60", 259200),
        ("sqrt(1764) + 8", 50),
        ("sqrt(1764 + 8)", 42.09513035969837),
        ("19.99 * 12", 239.88),
        ("0.1 + 0.2", 0.3),
        ("0.1 + 0.2 - 0.3", 0),
        ("1e20 + 1 - 1e20", 1),
        ("sqrt(2)**2", 2),
        ("1/3", 1 / 3),
        ("2^10", 1024),
        ("-2**2", -4),
        ("2**-1", 0.5),
        ("2**3**2", 512),
        ("1,234.5 * 2", 2469),
        ("1,000,000", 1_000_000),
        ("007", 7),
        ("3 x 4", 12),
        ("3x4", 12),
        ("12 × 3 ÷ 4 − 1", 8),  # noqa: RUF001 - what people paste
        ("2 * π", 2 * math.pi),
        ("√(16)", 4),
        ("5%", 0.05),
        ("50% of 20% of 10", 1),
        ("10 + 50% of 8", 14),
        ("20% * 50", 10),
        ("17% - 5", -4.83),
        ("(10 + 10)%", 0.2),
        ("17 % 5", 2),
        ("17%5", 2),
        ("-7 % 3", 2),
        ("-7 // 2", -4),
        ("7 mod 4", 3),
        ("round(2.5)", 3),
        ("round(-2.5)", -3),
        ("round(2.345, 2)", 2.35),
        ("round(1234, -2)", 1200),
        ("max(1, 2, 3) - min(4, 5)", -1),
        ("mean(1, 2, 4)", 7 / 3),
        ("max(100,200)", 200),
        ("sum(100,200%,300)", 402),
        ("sum(1, 2, 4)", 7),
        ("abs(-3) + floor(2.9) + ceil(2.1)", 8),
        ("log(8, 2)", 3),
        ("ln(e)", 1),
        ("log10(1000)", 3),
        ("sin(0) + cos(0)", 1),
        ("factorial(20)", 2432902008176640000),
        ("cbrt(27)", 3),
        ("degrees(pi)", 180),
        ("5 + 5 =", 10),
    ],
)
def test_values(expression, value):
    got = evaluate(expression)

    assert got == value
    assert isinstance(got, int) == isinstance(value, int)
    assert math.isclose(value_of(expression), value, rel_tol=1e-12, abs_tol=1e-12)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("two plus two", "'two' is unknown"),
        ("__import__('os')", "unknown"),
        ("'a' * 9", "is neither a number"),
        ("[1]", "is neither a number"),
        ("1 == 1", "is neither a number"),
        ("lambda: 1", "unknown"),
        ("a", "'a' is unknown"),
        ("sqrt", "without parentheses"),
        ("sqrt.__class__", "unknown"),
        ("(1).real", "is neither a number"),
        ("1 if 1 else 2", "unknown"),
        ("round(1, x=2)", "unknown"),
        ("5 5", "no operator before 5"),
        ("2(3)", r"no operator before '\('"),
        ("2π", "no operator before pi"),
        ("(1", "cannot be read"),
        ("1 +", "cannot be read"),
        ("0x10", "hexadecimal"),
        ("1_000", "unknown"),
        ("1,5", "a comma stands between arguments"),
        ("1,2345", "a comma stands"),
        ("max(1,000, 2)", "ambiguous"),
        ("max(1,000,2)", "ambiguous"),
        ("mean(1,200, 1,400)", "ambiguous"),
        ("100 + 10%", "could mean two things"),
        ("100 - 10%", "could mean two things"),
        ("17 % - 5", "could mean two things"),
        ("% 5", "stands after a number"),
        ("2 of 3", "'of' stands after a percentage"),
        ("1" * 2000, "2,000 characters"),
        ("(" * 300 + "1" + ")" * 300, "cannot be read"),
        ("-" * 990 + "1", "cannot be read"),
    ],
)
def test_what_is_no_expression_or_could_mean_two_things_is_refused(expression, message):
    with pytest.raises(BadArguments, match=message):
        evaluate(expression)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1/0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("log(0)", "math domain error"),
        ("sqrt(-1)", "math domain error"),
        ("(-8) ** (1/3)", "not a real number"),
        ("9**9**9", "too large"),
        ("9**99999999", "too large"),
        ("factorial(100000)", "between 0 and 450"),
        ("exp(1000)", "too large"),
        ("1e999", "too large"),
        ("10**100", "beyond"),
        ("-10**100", "beyond"),
        ("*".join(["9" * 100] * 9), "too large|beyond"),
        ("sqrt(1, 2)", "sqrt does not take 2 values"),
        ("round(1, 1000000)", "between -30 and 30"),
        ("min()", "empty"),
    ],
)
def test_what_has_no_usable_value_is_a_tool_error(expression, message):
    began = time.monotonic()
    with pytest.raises(ToolError, match=message) as caught:
        evaluate(expression)

    assert type(caught.value) is ToolError
    assert caught.value.effect is False
    assert time.monotonic() - began < 60


numbers = st.integers(0, 999).map(str) | st.decimals(0, 99, places=2).map(str)
expressions = st.recursive(
    numbers,
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", " % "]), inner).map(
        lambda t: f"({t[0]}){t[1]}({t[2]})"
    )
    | inner.map(lambda e: f"-({e})")
    | inner.map(lambda e: f"abs({e})")
    | st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
    max_leaves=8,
)


@given(expressions)
def test_two_parsers_agree(expression):
    try:
        value = evaluate(expression)
    except ToolError:
        return
    assert math.isclose(value, value_of(expression), rel_tol=1e-9, abs_tol=1e-9)


@given(st.text(alphabet="0123456789+-*/%().,^ ofxmdsqrtπ√", max_size=20))
def test_any_text_gives_a_number_or_a_typed_error(text):
    try:
        value = evaluate(text)
    except ToolError:
        return
    assert math.isfinite(value)


@pytest.mark.io
async def test_the_tool_and_its_check(box):
    result = await box.call("calculate", expression=" 17% of 2340 ")

    assert result == {"expression": " 17% of 2340 ", "value": 397.8, "text": "17% of 2340 = 397.8"}
    assert (await box.verify("calculate", result, expression=" 17% of 2340 ")).verdict == "ok"
    assert (await box.verify("calculate", result | {"value": 397.9}, expression="17% of 2340")).verdict == "refuted"
    assert (await box.verify("calculate", result | {"value": "397.8"}, expression="17% of 2340")).verdict == "refuted"
    assert (await box.verify("calculate", result, expression="no sum at all")).verdict == "unverifiable"
