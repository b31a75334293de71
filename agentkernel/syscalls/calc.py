"""The calculator: arithmetic over numbers, given as text, and never more work than a bound.

Rules
1. Nothing is run: the text's syntax tree is walked, and only the operators and names below mean anything.
2. Text, depth and every value on the way are bounded before they are computed.
3. Whole numbers are exact, quotients that come out even included; other results are rounded for people:
   0.1 + 0.2 is 0.3.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable

from agentkernel.syscalls.errors import ToolError

_LENGTH = 1000  # characters
_DEPTH = 200
_BITS = 10_000  # of a whole number: 3010 digits
_PLACES = 300  # that round() may be asked for; more is no float's
_DIGITS, _LARGE, _LARGE_DIGITS = 12, 1e9, 15  # of a float; 15 is all that it can promise

Number = int | float

_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))"
    r"|(?P<name>[A-Za-z_]\w*)|\*\*|//|[-+*/%(),]|\s+"
)
_MAPPED = str.maketrans("\u00d7\u00f7\u2212", "*/-")


def evaluate(expression: str) -> str:
    """The value of an expression, as text. Raises ToolError BAD_ARGUMENTS with the reason."""
    if len(expression) > _LENGTH:
        raise _bad(f"longer than {_LENGTH} characters")
    text = " ".join(expression.translate(_MAPPED).split())
    _check_tokens(text)
    try:
        tree = ast.parse(text, mode="eval")
        return _printed(_value(tree.body, _DEPTH))
    except ZeroDivisionError:
        raise _bad("division by zero") from None
    except OverflowError:
        raise _bad("the result is too large") from None
    except (SyntaxError, MemoryError, RecursionError):  # the last two: nested beyond the parser
        raise _bad("not an expression") from None
    except (TypeError, ValueError):
        raise _bad("a function can't take these numbers") from None


def _bad(reason: str) -> ToolError:
    return ToolError("BAD_ARGUMENTS", reason)


def _check_tokens(text: str) -> None:
    """Raise unless it is made of numbers, known names and operators: the parser sees nothing else."""
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            hint = " (a power is **)" if text[at] == "^" else ""
            raise _bad(f"{text[at]!a} can't be used{hint}")
        name = token["name"]
        if name is not None and name not in _FUNCTIONS and name not in _CONSTANTS:
            raise _bad(f"unknown name {name[:40]!a}")
        at = token.end()


def _value(node: ast.AST, depth: int) -> Number:
    """What a node of the tree stands for; at most `depth` more lie below it."""
    if depth == 0:
        raise _bad(f"nested deeper than {_DEPTH}")
    match node:
        case ast.Constant(value=int() | float() as number):
            value: Number = number
        case ast.Name(id=name) if name in _CONSTANTS:
            value = _CONSTANTS[name]
        case ast.UnaryOp(op=sign, operand=operand):
            value = _value(operand, depth - 1)
            value = -value if isinstance(sign, ast.USub) else value
        case ast.BinOp(left=left, op=symbol, right=right):
            value = _OPERATORS[type(symbol)](_value(left, depth - 1), _value(right, depth - 1))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            value = _FUNCTIONS[name](*[_value(each, depth - 1) for each in args])
        case _:
            raise _bad("not an expression")
    return _bounded(value)


def _bounded(value: Number) -> Number:
    if isinstance(value, complex):
        raise _bad("the result is not a real number")
    if not math.isfinite(value) if isinstance(value, float) else value.bit_length() > _BITS:
        raise OverflowError
    return value


def _quotient(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int) and right and left % right == 0:
        return left // right
    return left / right


def _power(base: Number, exponent: Number) -> Number:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(base) > 1 and exponent * (int(base).bit_length() - 1) > _BITS:
        raise OverflowError
    result: Number = base**exponent
    return result


def _root(value: Number) -> Number:
    if isinstance(value, int) and value >= 0 and math.isqrt(value) ** 2 == value:
        return math.isqrt(value)
    return math.sqrt(value)


def _rounded(value: Number, places: Number = 0) -> Number:
    if not isinstance(places, int) or abs(places) > _PLACES:
        raise _bad("round takes a whole number of places")
    return round(value, places) if places else round(value)


def _least(*values: Number) -> Number:
    return min(values)


def _most(*values: Number) -> Number:
    return max(values)


_CONSTANTS = {"pi": math.pi, "e": math.e}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "abs": abs,
    "round": _rounded,
    "min": _least,
    "max": _most,
    "sqrt": _root,
    "floor": math.floor,
    "ceil": math.ceil,
    "log": math.log,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
}
_OPERATORS: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _quotient,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}


def _printed(value: Number) -> str:
    """A whole number as such; another rounded, in its shortest form."""
    if isinstance(value, int):
        return str(value)
    if not value.is_integer():
        digits = _DIGITS if abs(value) < _LARGE else _LARGE_DIGITS
        value = float(f"{value:.{digits}g}")
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
