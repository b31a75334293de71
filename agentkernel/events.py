"""Who is told what happens: subscribers, and what each of them may see."""

from __future__ import annotations

from typing import Any

from agentkernel.process import Owner, Process, Sink


class Events:
    """The subscribers of a kernel."""

    def __init__(self) -> None:
        self._subscribers: dict[int, tuple[Sink, Owner]] = {}

    def __contains__(self, sink: Sink) -> bool:
        return id(sink) in self._subscribers

    def subscribe(self, owner: Owner, sink: Sink) -> None:
        """Send the owner's events to the sink; an administrator's sink gets all."""
        self._subscribers[id(sink)] = (sink, owner)

    def unsubscribe(self, sink: Sink) -> None:
        """Send the sink nothing any more."""
        self._subscribers.pop(id(sink), None)

    def tell(self, to: Owner, kind: str, **fields: Any) -> None:
        """Tell an owner, and administrators, of what is no process yet."""
        for sink, owner in list(self._subscribers.values()):
            if owner.admin or owner.id == to.id:
                sink.event({"kind": kind, **fields})

    def emit(self, kind: str, process: Process | None = None, **fields: Any) -> None:
        """Tell the subscribers; an event of a process only those who may see it."""
        if not self._subscribers:
            return
        event = {"kind": kind, **({} if process is None else {"pid": process.pid}), **fields}
        for sink, owner in list(self._subscribers.values()):
            if process is None or owner.may(process):
                sink.event(event)
