"""The tools of a kernel: built in, the user's, and those registered, which outlive it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkernel.config import Tools
from agentkernel.errors import KernelError
from agentkernel.jail.port import Limits
from agentkernel.permits import Less
from agentkernel.syscalls.secrets import Secrets
from agentkernel.syscalls.skills import SkillError
from agentkernel.syscalls.table import SYSCALLS
from agentkernel.syscalls.toolbox import Toolbox
from tests.by_hand import ME, run
from tests.callers import NO_FILES, call, calling, context, rest
from tests.fake_jail import FakeJail, ended

GREET = b"""
name: greet
description: greet somebody
schema:
  type: object
  properties: {who: {type: string}, loud: {type: boolean}}
  required: [who]
  additionalProperties: false
command: [greet, "{who}", "{loud}"]
limits: {wall_s: 2, memory_mb: 500}
secrets: [KEY]
"""
SCRIPT = b'{"name": "count", "description": "d", "schema": {"type": "object"}, "script": "print(1)"}'


def toolbox(folder: Path, skills: str = "") -> Toolbox:
    return Toolbox(skills, folder / "tools", Secrets({"KEY": "value", "OTHER": "hidden"}))


def code(method, *arguments) -> str:
    with pytest.raises(KernelError) as error:
        method(*arguments)
    return error.value.code


def test_a_kernel_has_the_built_in_tools_and_knows_no_others(tmp_path: Path) -> None:
    tools = toolbox(tmp_path)
    assert tools.tools == SYSCALLS
    assert tools.find("calc") is SYSCALLS["calc"]
    assert code(tools.find, "fly") == "TOOL_NOT_FOUND"
    assert not (tmp_path / "tools").exists()


def test_a_registered_tool_is_there_after_a_restart_until_it_is_unregistered(tmp_path: Path) -> None:
    made = toolbox(tmp_path).register(GREET)
    again = toolbox(tmp_path)
    assert again.find("greet") == made
    assert (made.source, made.jailed, made.private, made.changing) == ("registered", True, True, True)
    assert again.fault(made, {"who": "you"}) == ""
    assert "who" in again.fault(made, {})
    assert again.unregister("greet") == made
    assert code(again.find, "greet") == "TOOL_NOT_FOUND"
    assert list((tmp_path / "tools").iterdir()) == []
    assert toolbox(tmp_path).tools == SYSCALLS


def test_a_name_is_one_tools(tmp_path: Path) -> None:
    tools = toolbox(tmp_path)
    tools.register(GREET)
    assert code(tools.register, GREET) == "TOOL_EXISTS"
    assert code(tools.register, GREET.replace(b"greet\n", b"calc\n", 1)) == "TOOL_INVALID"
    assert code(tools.register, b"name: [") == "TOOL_INVALID"
    assert tools.tools.keys() - SYSCALLS.keys() == {"greet"}
    assert code(tools.unregister, "calc") == "TOOL_INVALID"
    assert code(tools.unregister, "fly") == "TOOL_NOT_FOUND"


def test_a_users_skill_can_not_be_registered_over_nor_unregistered(tmp_path: Path) -> None:
    (tmp_path / "skills").mkdir()
    (tmp_path / "skills" / "greet.yaml").write_bytes(GREET)
    tools = toolbox(tmp_path, str(tmp_path / "skills"))
    assert tools.find("greet").source == "skill"
    assert code(tools.register, GREET) == "TOOL_EXISTS"
    assert code(tools.unregister, "greet") == "TOOL_INVALID"
    assert (tmp_path / "skills" / "greet.yaml").read_bytes() == GREET


def test_a_skill_that_takes_a_registered_tools_name_is_named_at_the_start(tmp_path: Path) -> None:
    toolbox(tmp_path).register(GREET)
    (tmp_path / "skills").mkdir()
    (tmp_path / "skills" / "greet.yaml").write_bytes(GREET)
    with pytest.raises(SkillError, match=r"greet\.yaml:2: 'greet' is the name of another tool"):
        toolbox(tmp_path, str(tmp_path / "skills"))


def test_a_missing_directory_of_skills_is_named_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SkillError, match="no such directory"):
        toolbox(tmp_path, str(tmp_path / "skills"))


def test_a_tool_that_can_not_be_kept_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "tools").touch()
    tools = toolbox(tmp_path)
    assert code(tools.register, GREET) == "TOOL_FAILED"
    assert tools.tools == SYSCALLS


def test_a_tool_that_can_not_be_removed_stays(tmp_path: Path) -> None:
    tools = toolbox(tmp_path)
    tools.register(GREET)
    (tmp_path / "tools").rename(tmp_path / "away")
    (tmp_path / "tools").touch()
    assert code(tools.unregister, "greet") == "TOOL_FAILED"
    assert tools.find("greet").source == "registered"


def test_limits_of_a_skill_and_of_the_settings_only_lower(tmp_path: Path) -> None:
    tools = toolbox(tmp_path)
    greet = tools.register(GREET)
    assert tools.limits(greet, Tools()) == Limits(wall_s=2)
    settings = Tools(tool_limits={"greet": Less(wall_s=1, pids=4), "python": Less(pids=1)})
    assert tools.limits(greet, settings) == Limits(wall_s=1, pids=4)
    assert tools.limits(SYSCALLS["shell"], settings) == Limits()


def test_a_skill_runs_in_a_jail_with_its_arguments_and_its_secrets_alone(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "state").mkdir()
        file = tmp_path / "state" / "secrets"
        file.write_text("KEY: value\nOTHER: hidden\n")
        file.chmod(0o600)
        jail = FakeJail(lambda _job: ended(b"hello\n"))
        bench = await calling(tmp_path, {"go": call("greet", who="a b", loud=True), "s": call("count")}, jail)
        for each in (GREET, SCRIPT):
            bench.kernel.register_tool(each)
        process = await bench.exec("go", interactive=True, paths=NO_FILES, trust="confidential")
        await rest(bench)
        await bench.kernel.send_input(ME, 1, "s", bench.screen)
        await rest(bench)
        assert context(process) == "go|hello|s|hello"
        greet, count = jail.jobs
        assert (greet.argv, greet.code) == (("greet", "a b", "true"), None)
        assert greet.stdin == b'{"who": "a b", "loud": true}'
        assert (greet.environment, count.environment) == ({"KEY": "value"}, {})
        assert (greet.limits.wall_s, greet.limits.memory_mb, greet.trust) == (2, 128, "confidential")
        assert (count.argv, count.code, count.stdin) == ((), "print(1)", b"{}")

    run(main())


def test_a_skill_whose_secret_there_is_not_fails(tmp_path: Path) -> None:
    async def main() -> None:
        jail = FakeJail()
        bench = await calling(tmp_path, {"go": call("greet", who="you")}, jail)
        bench.kernel.register_tool(GREET)
        process = await bench.exec("go", interactive=True, paths=NO_FILES)
        await rest(bench)
        assert context(process) == "go|error: TOOL_FAILED: no secret 'KEY'"
        assert jail.jobs == []

    run(main())


def test_models_are_told_of_the_tools_that_were_named(tmp_path: Path) -> None:
    async def main() -> None:
        bench = await calling(tmp_path, {})
        bench.kernel.register_tool(GREET)
        told = (await bench.exec("go", tools=["greet", "calc"], constrain_tools=True)).plan
        untold = (await bench.exec("go", constrain_tools=True)).plan
        none = (await bench.exec("go", tools=[])).plan
        free = (await bench.exec("go", tools=["calc"])).plan
        assert '"name":"greet"' in told.functions
        assert '"name":"shell"' not in told.functions
        assert told.schemas.keys() == {"greet", "calc"}
        assert (untold.functions, untold.schemas.keys()) == ("", bench.kernel.gate.toolbox.tools.keys())
        assert (none.functions, none.schemas) == ("", {})
        assert free.schemas == {}

    run(main())
