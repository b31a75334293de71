"""The verb table and what derives from it."""

from __future__ import annotations

import pytest

from agentkernel.dispatch import HANDLERS
from agentkernel.errors import ERRORS
from agentkernel.protocol.verbs import VERBS, Access, Verb, help_text

NAMED = (
    "HELLO AUTH HELP QUIT PING STATUS PS WHY SHUTDOWN LIST_MODELS SELECT_MODEL MODEL_INFO LOAD UNLOAD "
    "SET_GEN GET_GEN EXEC SEND_INPUT STOP_OUTPUT CONTINUE_OUTPUT ATTACH DETACH LOGS WAIT TERM KILL "
    "SUSPEND RESUME FORK SNAPSHOT LIST_SNAPSHOTS DROP_SNAPSHOT CHECKPOINT RESTORE LIST_CHECKPOINTS "
    "DROP_CHECKPOINT REPLAY MEMW MEMR MEM LIST_TOOLS TOOL_INFO "
    "REGISTER_TOOL UNREGISTER_TOOL ANSWER APPROVE DENY LIST_FILES GET_FILE PUT_FILE SET_PRIORITY "
    "GET_QUOTA SET_QUOTA SUBSCRIBE"
)


def test_every_verb_has_one_handler_and_every_handler_a_verb() -> None:
    assert HANDLERS.keys() == VERBS.keys() == set(NAMED.split())
    assert len(set(HANDLERS.values())) == len(VERBS)


def test_help_fits_a_terminal_and_names_every_verb_with_its_arguments() -> None:
    lines = help_text().splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 79
    cells = [cell for line in lines for cell in line.strip().split("  ")]
    for verb in VERBS.values():
        assert f"{verb.name} {verb.arguments}".strip() in map(str.strip, cells)


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_verbs_errors_are_errors_and_follow_from_its_access(verb: Verb) -> None:
    assert not set(verb.errors) - ERRORS.keys()
    assert len(set(verb.errors)) == len(verb.errors)
    if verb.access is Access.OWNER:
        assert {"PID_NOT_FOUND", "FORBIDDEN"} <= set(verb.errors)


def test_before_auth_only_the_connections_own_verbs_are_served() -> None:
    anyone = {name for name, verb in VERBS.items() if verb.access is Access.ANYONE}
    assert anyone == {"HELLO", "AUTH", "HELP", "QUIT", "PING"}


def test_the_codes_that_clients_of_the_text_dialect_read() -> None:
    generic = {name for name, verb in VERBS.items() if verb.ok_code == "GENERIC"}
    assert generic == {"LIST_MODELS", "SELECT_MODEL", "MODEL_INFO", "LOAD", "EXEC"}
    assert VERBS["PING"].ok_code == "PING"
