"""What the kernel and the spawner process send each other."""

from __future__ import annotations

import msgspec

from agentkernel.jail.port import Job, Outcome


class Run(msgspec.Struct, frozen=True, tag=True):
    """Run a job with one of the backends that `Found` named."""

    backend: str
    job: Job


class Warm(msgspec.Struct, frozen=True, tag=True):
    """Make a jail ahead for such a job of its owner."""

    backend: str
    job: Job


class Kill(msgspec.Struct, frozen=True, tag=True):
    """End a job."""

    key: str


class Forget(msgspec.Struct, frozen=True, tag=True):
    """End all jails of an owner."""

    owner: int


class Found(msgspec.Struct, frozen=True, tag=True):
    """The spawner is up. `backends` has the layers of each that may be tried, the strongest first."""

    backends: dict[str, tuple[str, ...]]
    missing: tuple[str, ...]


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A job is over and nothing of it is left."""

    key: str
    outcome: Outcome


class Refused(msgspec.Struct, frozen=True, tag=True):
    """No jail could be made for a job."""

    key: str
    reason: str


Command = Run | Warm | Kill | Forget
Event = Found | Ended | Refused
