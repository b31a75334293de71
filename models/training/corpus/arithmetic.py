"""Calculations as people say them, with the expression that the calc tool takes and its value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from models.training.corpus.words import number


@dataclass(frozen=True, slots=True)
class Calculation:
    """`spoken` stands in a request, `expression` in the call; `value` is what calc prints."""

    spoken: str
    expression: str
    value: str


_SPOKEN = {
    "+": (
        "{a} plus {b}",
        "{a} + {b}",
        "{a} + {b}",
        "{a}+{b}",
        "the sum of {a} and {b}",
        "{a} and {b} added together",
        "{a} added to {b}",
    ),
    "-": (
        "{a} minus {b}",
        "{a} - {b}",
        "{a} - {b}",
        "{a}-{b}",
        "the difference between {a} and {b}",
        "{a} less {b}",
        "{a} take away {b}",
    ),
    "*": (
        "{a} times {b}",
        "{a} * {b}",
        "{a} * {b}",
        "{a}*{b}",
        "{a} x {b}",
        "the product of {a} and {b}",
        "{a} multiplied by {b}",
    ),
    "/": (
        "{a} divided by {b}",
        "{a} / {b}",
        "{a} / {b}",
        "{a}/{b}",
        "{a} over {b}",
        "the quotient of {a} and {b}",
    ),
    "%": ("{a} modulo {b}", "{a} % {b}", "the remainder of {a} divided by {b}", "{a} mod {b}"),
    "**": ("{a} to the power of {b}", "{a} ** {b}", "{a} raised to the power {b}"),
}
_OPERATORS = ("+",) * 6 + ("-",) * 5 + ("*",) * 5 + ("/",) * 4 + ("%", "**")


def value_of(a: int, operator: str, b: int, *, exact: bool = False) -> str:
    """What calc prints for two whole numbers; `exact` makes a quotient that comes out even whole."""
    if operator == "/":
        quotient = a / b
        return str(int(quotient)) if exact and quotient == int(quotient) else repr(quotient)
    values = {"+": a + b, "-": a - b, "*": a * b}
    if operator in values:
        return str(values[operator])
    return str(a % b if operator == "%" else a**b)


def _chain(random: Random) -> Calculation:
    """Three numbers in one expression, with brackets in half of the cases."""
    a, b, c = (number(random, 3) for _ in range(3))
    first, second = random.choice("+-*"), random.choice("+-*")
    left = int(value_of(a, first, b))
    if random.random() < 0.5:
        text, value = f"({a} {first} {b}) {second} {c}", value_of(left, second, c)
    elif second == "*" and first != "*":
        text, value = f"{a} {first} {b} * {c}", value_of(a, first, b * c)
    else:
        text, value = f"{a} {first} {b} {second} {c}", value_of(left, second, c)
    return Calculation(text, text, value)


_SHAPES: tuple[tuple[str, str, Callable[[int, int], str]], ...] = (
    ("the square of {a}", "{a} ** 2", lambda a, _: str(a * a)),
    ("{a} squared", "{a} ** 2", lambda a, _: str(a * a)),
    ("half of {a}", "{a} / 2", lambda a, _: repr(a / 2)),
    ("twice {a}", "{a} * 2", lambda a, _: str(a * 2)),
    ("double {a}", "{a} * 2", lambda a, _: str(a * 2)),
    ("{a} percent of {b}", "{b} * {a} / 100", lambda a, b: repr(b * a / 100)),
    ("{a}% of {b}", "{b} * {a} / 100", lambda a, b: repr(b * a / 100)),
)


def _decimal(random: Random) -> Calculation:
    """A sum, difference or product with a number that has a point."""
    a: float = number(random, 3) + random.randint(1, 99) / 100
    b: float = number(random, 3)
    if random.random() < 0.5:
        b += random.randint(1, 9) / 10
    operator = random.choice("+-*")
    value = round({"+": a + b, "-": a - b, "*": a * b}[operator], 6)
    return Calculation(random.choice(_SPOKEN[operator]).format(a=a, b=b), f"{a} {operator} {b}", repr(value))


def _special(random: Random) -> Calculation:
    """A calculation whose expression differs from what is said."""
    spoken, expression, value = random.choice(_SHAPES)
    a, b = number(random, 3), number(random, 4)
    return Calculation(spoken.format(a=a, b=b), expression.format(a=a, b=b), value(a, b))


def calculation(random: Random) -> Calculation:
    """Draw one; numbers have one to five digits, divisors are never zero."""
    draw = random.random()
    if draw < 0.21:
        return (_chain if draw < 0.08 else _decimal if draw < 0.13 else _special)(random)
    operator = random.choice(_OPERATORS)
    a, b = number(random), number(random)
    if operator == "**":
        a, b = number(random, 2), random.randint(2, 4)
    elif operator == "/" and random.random() < 0.6:
        b = number(random, 3) or 1
        a = b * number(random, 3)
    b = b or (1 if operator in "/%" else 0)
    spoken = random.choice(_SPOKEN[operator]).format(a=a, b=b)
    return Calculation(spoken, f"{a} {operator} {b}", value_of(a, operator, b, exact=random.random() < 0.6))
