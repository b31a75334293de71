"""The tools of this kernel: built in, from the user's directory, and registered while it runs.

Rules
1. A name is one tool's; nobody takes a built-in one's.
2. What was registered is there again after a restart, until it is unregistered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentkernel.config import Tools
from agentkernel.errors import KernelError
from agentkernel.jail.port import Limits
from agentkernel.replacing import removed, replacing
from agentkernel.syscalls import builtin
from agentkernel.syscalls.arguments import Check, validator
from agentkernel.syscalls.builtin import Handler, Invocation
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.secrets import Secrets, UnknownSecretError
from agentkernel.syscalls.skills import Skill, SkillError, command_line, load, parse
from agentkernel.syscalls.table import SYSCALLS, Tool


class Toolbox:
    """Tools by name, each with what runs it and what checks its arguments."""

    def __init__(self, skills: str, registered: Path, secrets: Secrets) -> None:
        """Raises SkillError for files that can't be used."""
        self.tools: dict[str, Tool] = dict(SYSCALLS)
        self.handlers: dict[str, Handler] = dict(builtin.HANDLERS)
        self._skills: dict[str, Skill] = {}
        self._checks: dict[str, Check] = {name: validator(tool.schema) for name, tool in SYSCALLS.items()}
        self._registered, self._secrets = registered, secrets
        for folder, source in ((Path(skills) if skills else None, "skill"), (registered, "registered")):
            if folder is not None and (source == "skill" or folder.is_dir()):
                for skill in load(folder, self.tools.keys()).values():
                    self._add(skill, source)

    def fault(self, tool: Tool, arguments: dict[str, Any]) -> str:
        """Why these are no arguments of the tool; nothing when they are."""
        return self._checks[tool.name](arguments)

    def limits(self, tool: Tool, settings: Tools) -> Limits:
        """What a job of the tool may use at most."""
        limits = settings.limits
        if tool.name in settings.tool_limits:
            limits = settings.tool_limits[tool.name].of(limits)
        skill = self._skills.get(tool.name)
        return skill.limits.of(limits) if skill else limits

    def find(self, name: str) -> Tool:
        """The tool of that name. Raises TOOL_NOT_FOUND."""
        try:
            return self.tools[name]
        except KeyError:
            raise KernelError("TOOL_NOT_FOUND", f"no tool named {name[:64]!r}", {"tool": name}) from None

    def register(self, payload: bytes) -> Tool:
        """Add a tool that the text describes. Raises TOOL_INVALID, TOOL_EXISTS or TOOL_FAILED."""
        try:
            skill = parse(payload, SYSCALLS.keys())
        except SkillError as error:
            raise KernelError("TOOL_INVALID", str(error)) from error
        if skill.name in self.tools:
            raise KernelError("TOOL_EXISTS", f"there is a tool named {skill.name!r}", {"tool": skill.name})
        try:
            with replacing(self._registered / f"{skill.name}.yaml") as file:
                file.write(payload)
        except OSError as error:
            raise KernelError("TOOL_FAILED", f"{skill.name} can't be kept: {error.strerror}") from error
        return self._add(skill, "registered")

    def unregister(self, name: str) -> Tool:
        """Forget a registered tool. Raises TOOL_NOT_FOUND, TOOL_INVALID or TOOL_FAILED."""
        tool = self.find(name)
        if tool.source != "registered":
            raise KernelError("TOOL_INVALID", f"{name} was not registered, but is a {tool.source} tool")
        try:
            removed(self._registered / f"{name}.yaml")
        except OSError as error:
            raise KernelError("TOOL_FAILED", f"{name} can't be removed: {error.strerror}") from error
        for table in (self.tools, self.handlers, self._checks, self._skills):
            table.pop(name, None)
        return tool

    def _add(self, skill: Skill, source: str) -> Tool:
        tool = self.tools[skill.name] = Tool(
            skill.name,
            skill.description,
            skill.schema,
            skill.capability,
            idempotent=skill.idempotent,
            jailed=True,
            private=True,
            changing=True,
            source=source,
        )
        self._skills[skill.name], self._checks[skill.name] = skill, validator(skill.schema)

        async def handler(call: Invocation) -> str:
            argv, stdin = command_line(skill, call.arguments)
            try:
                environment = self._secrets.pick(skill.secrets)
            except UnknownSecretError as error:
                raise ToolError("TOOL_FAILED", str(error)) from None
            if skill.script:
                program = builtin.Program((), stdin, skill.script, environment)
            else:
                program = builtin.Program(argv, stdin, None, environment)
            return await builtin.run(call, program)

        self.handlers[skill.name] = handler
        return tool
