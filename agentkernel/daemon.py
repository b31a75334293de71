"""`agentkernel serve` as a program: settings in, a running kernel, an exit status out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import cast

import uvloop

from agentkernel import config as configuration
from agentkernel import log
from agentkernel.auth import load_principals
from agentkernel.config import Config, ConfigError, is_loopback
from agentkernel.cpu import SHORT_SLICE, set_slice
from agentkernel.engine.link import EngineProcess
from agentkernel.jail.link import Spawner
from agentkernel.kernel import Kernel
from agentkernel.server import Server
from agentkernel.sockets import notify
from agentkernel.syscalls.secrets import Secrets

BUILTIN = "builtin/agentkernel-tiny"


def serve(config: Config, announce: Callable[[str, int], None], *, host_tools: bool = False) -> None:
    """Serve until SIGTERM, SIGINT or SHUTDOWN.

    `announce` is called once, when clients are accepted, the model is loaded and the jail has been tested.
    `host_tools` lets tools run on the host where no jail can be had. Raises ConfigError for unsafe settings,
    OSError for an address that can't be had, KernelError for a model that can't be loaded.
    """
    for path in (config.models, config.workspace, config.state):
        Path(path).mkdir(parents=True, exist_ok=True, mode=0o700)
    _check_tools(config, host_tools=host_tools)
    log.configure(config.log, config.log_file, Secrets.load(config.secrets_file).redact_event)
    principals = load_principals(config)

    set_slice(SHORT_SLICE)  # clients wait for this process, engines compute beside it
    sys.setswitchinterval(0.0005)  # a thread that reads a model's header must not hold up clients

    async def main() -> None:
        kernel = Kernel(config, EngineProcess, Spawner(host=host_tools))
        server = Server(kernel, principals)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        for number in (signal.SIGTERM, signal.SIGINT):  # until the server takes them over
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            host, port = await server.bind()
            tested = asyncio.get_running_loop().create_task(kernel.gate.start())
            await kernel.recover(principals.known)
            if config.model:
                await kernel.models.load(config.model)
            await tested
            await server.start()
            announce(host, port)
            notify("READY=1")
            await server.run()
        finally:
            server.close()
            await kernel.close()

    with (
        contextlib.suppress(asyncio.CancelledError),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(main())


def _check_tools(config: Config, *, host_tools: bool) -> None:
    for path in (config.audit_file, config.secrets_file):
        if path.resolve().is_relative_to(Path(config.workspace).resolve()):
            raise ConfigError(f"state: {path} would be inside the workspace")
    if host_tools and (os.geteuid() == 0 or not is_loopback(config.server.host)):
        raise ConfigError("--unsafe-host-tools: never as root, and on loopback only")


def default_model(config: Config, origins: configuration.Origins) -> str:
    """The model to load when none is named: the built-in one, where it is at hand.

    Outside a checkout the package's own copy is put into the models directory first.
    """
    if "model" in origins:
        return config.model
    target = Path(config.models) / f"{BUILTIN}.gguf"
    packaged = resources.files("agentkernel") / f"{BUILTIN}.gguf"
    if "models" not in origins and packaged.is_file() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with resources.as_file(packaged) as source:
            shutil.copyfile(source, target)
    return BUILTIN if target.exists() else ""
