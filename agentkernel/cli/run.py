"""`agentkernel run` and `resume`: start a process, or go on with one, at this terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

import click

from agentkernel.cli.output import Format, format_option, show_record, show_rows
from agentkernel.cli.streaming import Questions, show_stream
from agentkernel.cli.target import Target, target_options
from agentkernel.jail.port import Trust
from agentkernel.plan import LANES
from agentkernel.process import NICEST, PRIORITIES
from agentkernel.request import WORKLOADS


def _text_file(path: str) -> str:
    """The text of a file."""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path}: {error}") from error


def _json_file(path: str) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        content = json.loads(_text_file(path))
    except ValueError as error:
        raise click.BadParameter(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise click.BadParameter(f"{path}: not a JSON object")
    return content


@click.command(short_help="Start a process and stream it.")
@click.argument("prompt")
@click.option("--max-tokens", type=int, help="Tokens to generate at most.")
@click.option("--temperature", type=float, help="0 is greedy.")
@click.option("--top-p", type=float)
@click.option("--top-k", type=int)
@click.option("--min-p", type=float)
@click.option("--repeat-penalty", type=float)
@click.option("--seed", type=int, help="The same seed and prompt give the same text.")
@click.option("--stop", multiple=True, help="End before this text; may be repeated.")
@click.option("--model", metavar="ID", help="Model that it runs on.")
@click.option("--lora", metavar="ID", help="Adapter of the model.")
@click.option("--capability", type=click.Choice(list(WORKLOADS)), help="Class of work: its quota, its model.")
@click.option("--priority", type=click.Choice(PRIORITIES))
@click.option("--nice", type=click.IntRange(-NICEST - 1, NICEST), help="The higher, the less it weighs.")
@click.option("--deadline-ms", type=click.IntRange(1), help="Be through with the answer by then.")
@click.option("--ttft-ms", type=click.IntRange(1), help="Begin the answer by then.")
@click.option("--max-wall-ms", type=click.IntRange(1), help="End by then, whatever it is about.")
@click.option("--lane", type=click.Choice(LANES), help="Queue that it is admitted to.")
@click.option("--wait", is_flag=True, default=None, help="Where that is full, wait.")
@click.option("--raw", is_flag=True, default=None, help="No chat template: the prompt as it is.")
@click.option("--grammar", type=_text_file, metavar="FILE", help="GBNF grammar of the answer.")
@click.option("--json-schema", type=_json_file, metavar="FILE", help="JSON schema of the answer.")
@click.option("--system", help="System message before the prompt.")
@click.option("--from", "from_", metavar="SNAPSHOT", help="Begin with the context of a snapshot.")
@click.option("--tool", "tools", multiple=True, metavar="NAME", help="It may call this; may be repeated.")
@click.option("--approve", multiple=True, metavar="NAME", help="Calls of this wait for you; * is all.")
@click.option("--trust", type=click.Choice(get_args(Trust)), help="What its tools run in.")
@click.option("--key", help="Once a day: with a key that was used, that process is shown again.")
@click.option("--deterministic", is_flag=True, default=None, help="The same text whatever else runs.")
@click.option("--prompt-lookup", is_flag=True, default=None, help="Say faster what was said before.")
@click.option("--detach", is_flag=True, help="Print the PID and leave the process running.")
@target_options
@format_option
@click.pass_context
def run(
    context: click.Context,
    /,
    target: Target,
    *,
    prompt: str,
    system: str | None,
    detach: bool,
    shape: Format,
    **options: Any,
) -> None:
    """Start a process on PROMPT (`-` reads standard input) and stream its text.

    Ctrl-C ends this process only: at the end of its sentence, the second time at once. The exit code is
    0 when the process ran to its own end.
    """
    given: Any = {key: value for key, value in options.items() if value not in (None, ())}
    if detach:
        given["on_disconnect"] = "detach"
    text = _standard_input() if prompt == "-" else prompt
    with target.client(timeout=None) as client:
        questions = Questions()
        if not detach:
            client.watch(questions)
        stream = client.exec(text if system is None else _messages(system, text), **given)
        if not detach:
            questions.of(stream.pid)
            context.exit(show_stream(target, stream, shape))
        if shape == "table":
            click.echo(stream.pid)
        else:
            show_record({"pid": stream.pid}, shape)


@click.command(short_help="Stream a process that runs already.")
@click.argument("pid", type=int)
@click.option(
    "--from", "offset", type=click.IntRange(0), default=0, show_default=True, help="Byte to begin at."
)
@click.option("--take", is_flag=True, help="Take the process over from who drives it.")
@target_options
@format_option
@click.pass_context
def attach(
    context: click.Context, target: Target, *, pid: int, offset: int, take: bool, shape: Format
) -> None:
    """Stream what the process PID has put out and puts out, also when it has lately ended.

    Ctrl-C ends this command, and not the process. The exit code is 0 when that ran to its own end.
    """
    with target.client(timeout=None) as client:
        questions = Questions()
        questions.of(pid)
        client.watch(questions)
        context.exit(show_stream(target, client.attach(pid, offset, take=take), shape, owns=False))


@click.command(short_help="Show what a process has put out.")
@click.argument("pid", type=int)
@click.option(
    "--from", "offset", type=click.IntRange(0), default=0, show_default=True, help="Byte to begin at."
)
@target_options
def output(target: Target, pid: int, offset: int) -> None:
    """Write what the process PID has put out so far, byte for byte; also one of a former kernel."""
    with target.client() as client:
        while (found := client.logs(pid, offset)).data:
            click.echo(found.data, nl=False)
            offset += found.length


@click.command(short_help="Put a suspended process back.")
@click.argument("pid")
@target_options
@format_option
@click.pass_context
def resume(context: click.Context, target: Target, pid: str, shape: Format) -> None:
    """Put the suspended process PID back.

    A process that was suspended because its reader went away streams here; when this command ends
    before it, it is suspended again.
    """
    with target.client(timeout=None) as client:
        process = client.call("STATUS", pid)
        if process["attached"] or process["on_disconnect"] != "suspend":
            state = client.call("RESUME", pid)
            show_rows([state], {"PID": "pid", "STATE": "state"}, shape)
            return
        questions = Questions()
        questions.of(process["pid"])
        client.watch(questions)
        stream = client.stream(process["pid"])
        client.resume(stream.pid)
        context.exit(show_stream(target, stream, shape))


def _messages(system: str, text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise click.ClickException(f"standard input is not UTF-8: {error}") from error
