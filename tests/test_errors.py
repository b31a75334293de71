"""The error table, and that whatever the package raises is in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import agentkernel
from agentkernel.errors import ERRORS, ErrorSpec, Fault, KernelError

SOURCES = sorted(Path(agentkernel.__file__).parent.rglob("*.py"))
# Calls whose first argument is a code, and parameters of functions that carry one on.
RAISERS = {"KernelError", "Rejected"}
CARRIERS = {
    "parse_pid": (1, 2),
    "parse_settings": (2,),
    "parse_text": (1,),
    "Refused": (1,),
    "_contents": (2,),
}
PARAMETERS = {"code", "missing", "invalid"}  # whose default is a code


def literals(call: ast.Call) -> Iterator[str]:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    places = (0,) if name in RAISERS else CARRIERS.get(name, ())
    for argument in (call.args[i] for i in places if i < len(call.args)):
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value


def defaults(function: ast.FunctionDef) -> Iterator[str]:
    named = function.args.args[len(function.args.args) - len(function.args.defaults) :]
    for argument, default in zip(named, function.args.defaults, strict=True):
        if argument.arg in PARAMETERS and isinstance(default, ast.Constant) and default.value:
            yield default.value


def raised() -> dict[str, str]:
    """Every code literal in the package, and a place where it is."""
    found = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            codes: Iterator[str] = iter(())
            if isinstance(node, ast.Call):
                codes = literals(node)
            elif isinstance(node, ast.FunctionDef):
                codes = defaults(node)
            found |= dict.fromkeys(codes, path.name)
    return found


def test_every_code_that_is_raised_is_in_the_table() -> None:
    assert {code: place for code, place in raised().items() if code not in ERRORS} == {}


def test_every_code_of_the_table_is_raised() -> None:
    """But IN_FLIGHT, which clients know: here further commands stay unread instead."""
    assert ERRORS.keys() - raised().keys() == {"IN_FLIGHT"}


@pytest.mark.parametrize(("code", "spec"), ERRORS.items(), ids=ERRORS)
def test_an_entry_says_what_is_wrong_in_one_line_and_exits_as_sysexits_do(code: str, spec: ErrorSpec) -> None:
    assert code == code.upper()
    assert code.replace("_", "").isalpha()
    assert spec.text
    assert len(spec.text.splitlines()) == 1
    assert not spec.text.endswith(".")
    assert 64 <= spec.exit_code <= 78
    assert not (spec.retryable and spec.exit_code in (64, 65))


def test_an_error_carries_its_code_message_and_details() -> None:
    error = KernelError("SPAWN_FAILED", "full", {"limit": 3})
    assert str(error) == "SPAWN_FAILED: full"
    assert error.args == ("SPAWN_FAILED", "full")
    assert error.details == {"limit": 3}
    assert error.spec is ERRORS["SPAWN_FAILED"]
    assert error.spec.fault is Fault.RESOURCE


def test_an_error_without_a_message_says_the_tables() -> None:
    assert KernelError("NO_MODEL").message == ERRORS["NO_MODEL"].text


def test_an_unknown_code_is_a_mistake_of_the_program() -> None:
    with pytest.raises(KeyError):
        KernelError("NO_SUCH_CODE")
