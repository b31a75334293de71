"""A process's output on this terminal, and what Ctrl-C does to the process.

Rules
1. Text goes out as it comes; on a terminal control characters are replaced.
2. The first Ctrl-C ends the process at its sentence, the second at once, the third gives up waiting.
3. Signals go over a connection of their own: the one that streams may be in the middle of anything.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

import click
import msgspec

from agentkernel.cli.output import Format, printable, show_line, show_record
from agentkernel.cli.target import Target
from agentkernel.client import ClientError, Stream
from agentkernel.client.replies import Ended, Event

INTERRUPTED, UNDONE = 130, 1
_SIGNAL_TIMEOUT = 5.0


class Interrupts:
    """Turns Ctrl-C into signals to one process."""

    def __init__(self, target: Target, pid: int) -> None:
        self._target, self._pid = target, pid
        self.count = 0

    def __repr__(self) -> str:
        return f"<Interrupts pid={self._pid} count={self.count}>"

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Handle SIGINT."""
        self.count += 1
        if self.count > 2:
            raise KeyboardInterrupt
        if self.count == 1 and sys.stderr.isatty():
            os.write(2, f"\nending PID {self._pid}; Ctrl-C again kills it\n".encode())
        with contextlib.suppress(ClientError), self._target.client(_SIGNAL_TIMEOUT) as client:
            (client.term if self.count == 1 else client.kill)(self._pid)

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Inside, Ctrl-C signals the process; outside it does what it did."""
        before = signal.signal(signal.SIGINT, self)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class Questions:
    """Says on standard error what a process asks of people, and how that is answered."""

    def __init__(self) -> None:
        self._pid = 0
        self._events: list[Event] = []

    def __repr__(self) -> str:
        return f"<Questions pid={self._pid}>"

    def __call__(self, event: Event) -> None:
        """Take an event; they may come before it is known which process they are about."""
        if event.kind in ("question", "approval_wanted"):
            self._events.append(event)
            self._show()

    def of(self, pid: int) -> None:
        """It is about this process."""
        self._pid = pid
        self._show()

    def _show(self) -> None:
        if not self._pid:
            return
        for event in self._events:
            if event.pid == self._pid:
                click.echo(printable(" ".join(_asked(event).split())), err=True)
        self._events.clear()


def _asked(event: Event) -> str:
    pid, fields = event.pid, event.fields
    if event.kind == "question":
        return f"PID {pid} asks: {fields['question']} (agentkernel answer {pid} TEXT)"
    call = fields["call"]
    wanted = f"{fields['tool']} {fields['arguments']}"
    return f"PID {pid} wants to call {wanted} (agentkernel approve {pid} {call}, or deny {pid} {call})"


def show_stream(target: Target, stream: Stream, shape: Format, *, owns: bool = True) -> int:
    """Print a process's output up to its end, which Ctrl-C brings about if it is ours; the exit code."""
    interrupts = Interrupts(target, stream.pid)
    with interrupts.handled() if owns else contextlib.nullcontext():
        text = _copy(stream, shape)
        ended = stream.result()
    _show_end(ended, text, shape)
    if interrupts.count:
        return INTERRUPTED
    return 0 if ended.state == "Done" else UNDONE


def _copy(stream: Stream, shape: Format) -> str:
    """Pass the text on; returns all of it where it is to be shown as a whole."""
    parts = []
    last = "\n"
    terminal = sys.stdout.isatty()
    for text in stream:
        if shape == "json":
            parts.append(text)
        elif shape == "jsonl":
            show_line({"pid": stream.pid, "text": text})
        else:
            click.echo(printable(text) if terminal else text, nl=False)
            last = text[-1:]
    if shape == "table" and terminal and last != "\n":
        click.echo()
    return "".join(parts)


def _show_end(ended: Ended, text: str, shape: Format) -> None:
    if shape == "json":
        show_record({"text": text, **msgspec.to_builtins(ended)}, shape)
    elif shape == "jsonl":
        show_record(msgspec.to_builtins(ended), shape)
    elif sys.stderr.isatty():
        click.secho(
            f"PID {ended.pid}: {ended.reason}, {ended.tokens} tokens in {ended.elapsed_secs:.1f} s",
            err=True,
            dim=True,
        )
    elif ended.state != "Done":
        click.echo(f"agentkernel: PID {ended.pid} ended {ended.state}: {ended.reason}", err=True)
