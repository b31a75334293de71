"""What the gate knows of one process that calls."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from agentkernel.calls import Call
from agentkernel.jail.port import Outcome
from agentkernel.syscalls.workspace import Workspace


@dataclass(slots=True)
class Caller:
    """What the gate knows of one process."""

    workspace: Workspace | None = None  # once it is needed
    task: asyncio.Task[None] | None = None
    call: Call | None = None  # that it makes now
    since: float = 0.0  # when that began
    begun: deque[float] = field(default_factory=deque)  # when its last calls began
    failures: int = 0  # in a row
    outcome: Outcome | None = None  # of its last job
