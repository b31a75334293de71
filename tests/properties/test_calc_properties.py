"""The calculator beside Python's own arithmetic, and on text that nobody meant as arithmetic."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.syscalls.calc import evaluate
from agentkernel.syscalls.errors import ToolError

NUMBERS = st.integers(0, 999).map(str) | st.decimals(0, 999, places=2).map(str)
OPERATORS = st.sampled_from(["+", "-", "*", "/", "//", "%"])
CALLS = {"abs": abs, "round": round, "floor": math.floor, "ceil": math.ceil, "sin": math.sin, "cos": math.cos}
SCRAPS = st.lists(
    st.sampled_from([*CALLS, "9", "1e9", ".5", "(", ")", ",", "**", "*", "//", "-", "%", "=", "x", "\0", "é"])
)


def compound(parts):
    """Larger expressions of smaller ones."""
    powers = st.builds("({})**{}".format, st.integers(0, 99), st.integers(0, 5))
    return (
        st.builds("({} {} {})".format, parts, OPERATORS, parts)
        | st.builds("-{}".format, parts)
        | st.builds("{}({})".format, st.sampled_from(sorted(CALLS)), parts)
        | powers
    )


def answered(text):
    """The value, or None and why there is none."""
    try:
        return evaluate(text), None
    except ToolError as error:
        return None, error


@given(st.recursive(NUMBERS, compound, max_leaves=12))
@settings(max_examples=500)
def test_it_computes_what_python_computes(expression):
    value, error = answered(expression)
    try:
        expected = eval(expression, {"__builtins__": {}}, CALLS)
    except ZeroDivisionError:
        assert error.reason == "division by zero"
        return
    except OverflowError:
        assert error.reason == "the result is too large"
        return
    if any(part in expression for part in (".", "/", "sin", "cos")):
        assert math.isclose(float(value), expected, rel_tol=1e-9, abs_tol=1e-9)
    else:
        assert value == str(expected)


@given(SCRAPS.map("".join) | st.text())
@settings(max_examples=500)
def test_any_text_has_a_value_or_a_reason(text):
    value, error = answered(text)
    if error is None:
        assert value.lstrip("-").isdecimal() or math.isfinite(float(value))
    else:
        assert error.code == "BAD_ARGUMENTS"
        assert 0 < len(error.reason) < 100
        assert error.reason.isprintable()
