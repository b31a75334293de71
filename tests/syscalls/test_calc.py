"""The calculator: what it prints, what it refuses and why, and that nothing makes it work long."""

from __future__ import annotations

import pytest

from agentkernel.syscalls.calc import evaluate
from agentkernel.syscalls.errors import ToolError

VALUES = {
    "417 + 268": "685",
    "417+268": "685",
    " ( 2 + 3 ) * 4 ": "20",
    "2 - 3 - 4": "-5",
    "-2 ** 2": "-4",
    "2 ** 3 ** 2": "512",
    "--3": "3",
    "+3": "3",
    "5 / 2": "2.5",
    "6 / 2": "3",
    "-6 / 4": "-1.5",
    "10 ** 30 / 10": str(10**29),
    "7 // 2": "3",
    "-7 // 2": "-4",
    "-7 % 3": "2",
    "7.5 // 2": "3",
    "2 ** -1": "0.5",
    "2 ** 0.5": "1.41421356237",
    "0.1 + 0.2": "0.3",
    "100.1 - 100": "0.1",
    "1 / 3": "0.333333333333",
    "0.0 * -1": "0",
    "1e20": "1e+20",
    "1.5e300 * 2": "3e+300",
    "123456789012345 * 1.0": "123456789012345",
    "1234567890123.25 + 0.5": "1234567890123.75",
    "3 \u00d7 4 \u00f7 2 \u2212 1": "5",
    "2\n+\t2": "4",
    "abs(-3) + abs(2.5)": "5.5",
    "round(2.567, 2)": "2.57",
    "round(2.6)": "3",
    "round(1234, -2)": "1200",
    "min(3, 1, 2) + max(3, 1, 2)": "4",
    "min(3)": "3",
    "sqrt(16)": "4",
    "sqrt(2)": "1.41421356237",
    "sqrt(10 ** 60)": str(10**30),
    "floor(-2.5)": "-3",
    "ceil(2.1)": "3",
    "log(e)": "1",
    "log(1000, 10)": "3",
    "exp(0)": "1",
    "sin(pi / 6)": "0.5",
    "cos(0) + tan(0)": "1",
    "pi": "3.14159265359",
    "0 ** 10 ** 9": "0",
    "(-1) ** 10 ** 9": "1",
    "2 ** 9999": str(2**9999),
    "+".join(["1"] * 150): "150",
}
TOO_LARGE = [
    "9**9**9",
    "9**9**9**9",
    "2 ** 10001",
    "10 ** 3000 * 10 ** 3000",
    "9.9 ** 999999",
    "1e999",
    "exp(1000)",
    "10 ** 400 / 3",
    "1e308 * 10 - 1e308 * 10",
    "2 ** (2 ** 30)",
    "(2 ** 9000) ** -1",
]
REFUSED = {
    "1 / 0": "division by zero",
    "1 % 0": "division by zero",
    "1.0 // 0": "division by zero",
    "0 ** -1": "division by zero",
    "2 ^ 3": "'^' can't be used (a power is **)",
    "2 + 2 =": "'=' can't be used",
    "1 < 2": "'<' can't be used",
    "'a' * 9": "\"'\" can't be used",
    "1 + ☃": "'\\u2603' can't be used",
    "x + 1": "unknown name 'x'",
    "__import__(1)": "unknown name '__import__'",
    "True + 1": "unknown name 'True'",
    "lambda: 1": "unknown name 'lambda'",
    "3j": "'3' can't be used",
    "2pi": "'2' can't be used",
    "1_0": "'1' can't be used",
    "1.2.3": "'1' can't be used",
    "pi.real": "'.' can't be used",
    "": "not an expression",
    "1 +": "not an expression",
    "1 2": "not an expression",
    "007": "not an expression",
    "(1": "not an expression",
    "1, 2": "not an expression",
    "()": "not an expression",
    "(1)(2)": "not an expression",
    "pi(2)": "not an expression",
    "abs": "not an expression",
    "max(*(1, 2))": "not an expression",
    "max(**pi)": "not an expression",
    "(" * 300 + "1" + ")" * 300: "not an expression",
    "-" * 300 + "1": "nested deeper than 200",
    "+".join(["1"] * 400): "nested deeper than 200",
    "1" * 1001: "longer than 1000 characters",
    "(-8) ** 0.5": "the result is not a real number",
    "sqrt(-1)": "a function can't take these numbers",
    "log(0)": "a function can't take these numbers",
    "sqrt(1, 2)": "a function can't take these numbers",
    "min()": "a function can't take these numbers",
    "round(5, -10 ** 9)": "round takes a whole number of places",
    "round(5, 1.5)": "round takes a whole number of places",
}


@pytest.mark.parametrize(("expression", "value"), VALUES.items())
def test_values_are_printed_as_people_write_them(expression, value):
    assert evaluate(expression) == value


@pytest.mark.parametrize("expression", TOO_LARGE)
def test_a_result_out_of_bounds_is_refused_before_it_is_computed(expression):
    with pytest.raises(ToolError) as error:
        evaluate(expression)
    assert str(error.value) == "error: BAD_ARGUMENTS: the result is too large"


@pytest.mark.parametrize(("expression", "reason"), REFUSED.items())
def test_what_is_no_arithmetic_is_refused_with_the_reason(expression, reason):
    with pytest.raises(ToolError) as error:
        evaluate(expression)
    assert (error.value.code, error.value.reason) == ("BAD_ARGUMENTS", reason)


def test_any_depth_of_the_text_is_an_error_and_not_a_fault():
    for nested in ("(" * 499 + "1" + ")" * 499, "-" * 999 + "1", "(-" * 250 + "1" + ")" * 249, "(" * 1000):
        with pytest.raises(ToolError, match=r"nested|not an expression"):
            evaluate(nested)
