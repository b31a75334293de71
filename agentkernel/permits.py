"""What a process may ask of the kernel: tools, paths, trust, limits; pure.

Rules
1. A child's permits are at most its parent's: `narrowed` takes away, and never gives.
2. What isn't named isn't permitted, but for tools that every process has by default.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from agentkernel.jail.port import Limits, Trust

EVERYTHING = ("**",)
Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class Less(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of a tool below those that it has anyway; greater ones change nothing."""

    wall_s: _Seconds | None = None
    cpu_s: _Seconds | None = None
    memory_mb: _Count | None = None
    pids: _Count | None = None
    files: _Count | None = None
    output_bytes: _Count | None = None
    workspace_mb: _Count | None = None
    workspace_files: _Count | None = None

    def of(self, limits: Limits) -> Limits:
        """The smaller of both, limit by limit."""
        asked = {key: value for key, value in msgspec.structs.asdict(self).items() if value is not None}
        least = {key: min(value, getattr(limits, key)) for key, value in asked.items()}
        return msgspec.structs.replace(limits, **least)


class Permits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a process may do by calls.

    `tools` are names, or None for every tool there is. `read` and `write` are patterns of paths in the
    workspace. A call of a tool in `approve` (`*` is every tool) waits for a person. `limits` are by tool, `*`
    for all.
    """

    tools: tuple[str, ...] | None = None
    read: tuple[Pattern, ...] = EVERYTHING
    write: tuple[Pattern, ...] = EVERYTHING
    approve: tuple[str, ...] = ()
    trust: Trust = "standard"
    constrain: bool = False
    limits: dict[str, Less] = {}

    def allows(self, tool: str) -> bool:
        """Whether the process may call the tool at all."""
        return self.tools is None or tool in self.tools

    def asks(self, tool: str) -> bool:
        """Whether a person has to approve a call of the tool."""
        return tool in self.approve or "*" in self.approve

    def bounds(self, tool: str, limits: Limits) -> Limits:
        """The limits of a call of the tool."""
        for key in ("*", tool):
            if key in self.limits:
                limits = self.limits[key].of(limits)
        return limits

    def narrowed(self, tools: tuple[str, ...] | None) -> Permits:
        """A child's: all of these, or those of the tools named that are among them."""
        if tools is None:
            return self
        return msgspec.structs.replace(self, tools=tuple(tool for tool in tools if self.allows(tool)))
