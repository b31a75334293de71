"""`agentkernel serve` as a program: settings in, a running kernel, an exit status out."""

from __future__ import annotations

import asyncio
import contextlib
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
from agentkernel.config import Config
from agentkernel.cpu import SHORT_SLICE, set_slice
from agentkernel.engine.link import EngineProcess
from agentkernel.kernel import Kernel
from agentkernel.server import Server
from agentkernel.sockets import notify

BUILTIN = "builtin/agentkernel-tiny"


def serve(config: Config, announce: Callable[[str, int], None]) -> None:
    """Serve until SIGTERM, SIGINT or SHUTDOWN.

    `announce` is called once, when clients are accepted and the model is loaded. Raises ConfigError
    for unsafe settings, OSError for an address that can't be had, KernelError for a model that can't
    be loaded.
    """
    for path in (config.models, config.workspace, config.state):
        Path(path).mkdir(parents=True, exist_ok=True, mode=0o700)
    log.configure(config.log, config.log_file)
    principals = load_principals(config)

    set_slice(SHORT_SLICE)  # clients wait for this process, engines compute beside it
    sys.setswitchinterval(0.0005)  # a thread that reads a model's header must not hold up clients

    async def main() -> None:
        kernel = Kernel(config, EngineProcess)
        server = Server(kernel, principals)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        for number in (signal.SIGTERM, signal.SIGINT):  # until the server takes them over
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            host, port = await server.bind()
            if config.model:
                await kernel.models.load(config.model)
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
