"""`agentkernel` that kills itself, or its engine, when it comes to a place for the n-th time.

Usage: dying.py PLACE N ARGUMENTS...
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from agentkernel.checkpoints import Writer
from agentkernel.cli.app import main
from agentkernel.journal.store import Journal
from agentkernel.paging import Paging
from agentkernel.processes import Processes
from agentkernel.recording import Recorder
from agentkernel.replaying import Replaying
from agentkernel.serving import Served
from agentkernel.syscalls.gate import Gate


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_engine(served: Served, *_: Any) -> None:
    os.kill(served.engine.os_pid, signal.SIGKILL)


# By name: what is called there, whether death comes before or behind it, and what dies.
PLACES: dict[str, tuple[type, str, str, Callable[..., None]]] = {
    "before-commit": (Journal, "_write", "before", die),
    "after-commit": (Journal, "_write", "behind", die),
    "after-step": (Recorder, "took", "behind", die),
    "before-delivery": (Processes, "_give_out", "before", die),
    "after-delivery": (Processes, "_give_out", "behind", die),
    "at-an-end": (Processes, "_show_end", "before", die),
    "after-birth": (Recorder, "born", "behind", die),
    "paging-out": (Paging, "revoke", "behind", die),
    "before-a-call": (Gate, "_perform", "before", die),
    "between-call-and-result": (Gate, "_finish", "before", die),
    "behind-result": (Recorder, "finished", "behind", die),
    "saving": (Writer, "add", "before", die),
    "saved": (Writer, "finish", "behind", die),
    "restoring": (Recorder, "reborn", "behind", die),
    "restored": (Replaying, "_go_on_again", "before", die),
    "engine": (Served, "_on_step", "before", kill_engine),
}


def arm(place: str, count: int) -> None:
    """Have death come at the place for the n-th time."""
    kind, name, when, kill = PLACES[place]
    function, left = getattr(kind, name), count

    def armed(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        now = left == 0
        if now and when == "before":
            kill(*arguments)
        result = function(*arguments, **named)
        if now and when == "behind":
            kill(*arguments)
        return result

    setattr(kind, name, armed)


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:3] = []
    sys.exit(main())
