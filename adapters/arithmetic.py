"""Expressions as people type them, evaluated by `simpleeval` within bounds, exactly where that is possible.

Decimals are taken as written (19.99 is 1999/100), so `0.1 + 0.2` is 0.3 and no answer ends in 0000004; only
what goes through a function such as `sqrt` is a float.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from fractions import Fraction

from simpleeval import InvalidExpression, SimpleEval

from trouper.runtime import BadArguments, ToolError

from .arithmetic_notation import rewritten, shortened

MAX_BITS = 4096
MAX_VALUE = 10**100

Number = Fraction | float


def evaluate(expression: str) -> int | float:
    """The value of an expression.

    Raises:
        BadArguments: it is no expression, ambiguous, or longer than 1,000 characters.
        ToolError: division by zero, outside of a function's domain, or beyond 10**100.
    """
    python = rewritten(expression, FUNCTIONS, _CONSTANTS)
    try:
        tree = ast.parse(python, mode="eval")
        _check(tree.body, expression)
        value = _evaluator().eval(python, previously_parsed=tree.body)
    except ToolError:
        raise
    except ZeroDivisionError as error:
        raise _refused(expression, "division by zero") from error
    except OverflowError as error:
        raise _refused(expression, "a number on the way is too large") from error
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise BadArguments(f"expression {shortened(expression)}: it cannot be read ({type(error).__name__})") from error
    except InvalidExpression as error:
        raise BadArguments(f"expression {shortened(expression)}: {error}") from error
    except (TypeError, ValueError) as error:
        raise _refused(expression, str(error)) from error
    return _result(expression, value)


def number_text(value: float) -> str:
    """A value as people write it: `128`, `397.8`."""
    return repr(value)


# ---------------------------------------------------------------------- evaluation within bounds


def _bounded(value: Number) -> Number:
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise OverflowError
        return value
    if not math.isfinite(value):
        raise OverflowError
    return value


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        # Judged before it is computed: 9**9**9 would be computing still.
        if abs(exponent) * bits > MAX_BITS and abs(base) != 1 and base != 0:
            raise OverflowError
        return _bounded(base**exponent.numerator)
    if base < 0:
        raise ValueError("a root of a negative number is not a real number")
    return math.pow(base, exponent)


def _round(value: Number, digits: Number = Fraction(0)) -> Number:
    """Half away from zero, as people do; Python's own would make 2 of 2.5."""
    if not -30 <= digits <= 30 or digits != int(digits):
        raise ValueError("round() takes a whole number of digits between -30 and 30")
    scale = Fraction(10) ** int(digits)
    exact = abs(Fraction(repr(value)) if isinstance(value, float) else value) * scale
    whole = Fraction(math.floor(exact + Fraction(1, 2)))
    return (whole if value >= 0 else -whole) / scale


def _factorial(value: Number) -> Number:
    if value != int(value) or not 0 <= value <= 450:
        raise ValueError("factorial() takes a whole number between 0 and 450")
    return Fraction(math.factorial(int(value)))


def _sqrt(value: Number) -> Number:
    if isinstance(value, Fraction) and value >= 0:
        root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
        if root * root == value:
            return root
    return math.sqrt(value)


def _log(value: Number, base: Number = math.e) -> Number:
    return math.log(value) if base == math.e else math.log(value) / math.log(base)


def _mean(*values: Number) -> Number:
    return sum(values, Fraction(0)) / len(values)


FUNCTIONS: dict[str, Callable[..., Number]] = {
    "sqrt": _sqrt,
    "cbrt": math.cbrt,
    "abs": abs,
    "round": _round,
    "floor": lambda v: Fraction(math.floor(v)),
    "ceil": lambda v: Fraction(math.ceil(v)),
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "sum": lambda *values: sum(values, Fraction(0)),
    "mean": _mean,
    "avg": _mean,
    "pow": _power,
    "mod": operator.mod,
    "exp": math.exp,
    "log": _log,
    "ln": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "factorial": _factorial,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "degrees": math.degrees,
    "radians": math.radians,
}
_CONSTANTS = {"pi": math.pi, "e": math.e}
_OPERATORS: dict[type[ast.AST], Callable[..., Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def _checked(function: Callable[..., Number], name: str) -> Callable[..., Number]:
    def call(*arguments: Number) -> Number:
        try:
            value = function(*arguments)
        except TypeError as error:
            raise ValueError(f"{name} does not take {len(arguments)} values") from error
        return _bounded(Fraction(value) if isinstance(value, int) else value)

    return call


def _evaluator() -> SimpleEval:
    evaluator = SimpleEval(
        operators={node: _checked(f, node.__name__) for node, f in _OPERATORS.items()},
        functions={name: _checked(f, name) for name, f in FUNCTIONS.items()},
        names=dict(_CONSTANTS),
    )
    evaluator.nodes[ast.Constant] = _constant
    return evaluator


def _constant(node: ast.Constant) -> Number:
    # `repr` gives the decimal as it was typed, up to 17 digits: 19.99 and not 19.98999...
    number = isinstance(node.value, int | float) and math.isfinite(node.value)
    if not number:
        raise OverflowError
    return _bounded(Fraction(repr(node.value)))


_NODES = (ast.BinOp, ast.UnaryOp, ast.Constant, ast.Name, ast.Call)


def _check(node: ast.expr, expression: str) -> None:
    """Refuse everything but numbers, names, operators and calls, before anything is evaluated."""
    waiting: list[ast.expr] = [node]
    while waiting:
        node = waiting.pop()
        number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
        if not isinstance(node, _NODES) or (isinstance(node, ast.Constant) and not number):
            raise BadArguments(f"expression {shortened(expression)}: only numbers, operators and functions")
        if isinstance(node, ast.BinOp):
            waiting += [node.left, node.right]
        elif isinstance(node, ast.UnaryOp):
            waiting.append(node.operand)
        elif isinstance(node, ast.Call):
            waiting += node.args


def _result(expression: str, value: Number) -> int | float:
    if isinstance(value, float):
        # The last digit of a float is noise where a short number lies beside it: sqrt(2)**2 is 2.
        short = f"{value:.15g}"
        value = float(short) if len(short) <= 13 else value
    if not -MAX_VALUE < value < MAX_VALUE:
        raise _refused(expression, "the result is beyond 10**100")
    if value == int(value) and (isinstance(value, Fraction) or abs(value) < 2**53):
        return int(value)
    return float(value)


def _refused(expression: str, why: str) -> ToolError:
    return ToolError(f"cannot calculate {shortened(expression)}: {why}", effect=False, retry_possible=False)
