"""A process that changes in any order, written down and committed now and then: the next kernel finds it."""

from __future__ import annotations

import asyncio
import copy
import tempfile
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkernel.journal.store import Journal
from agentkernel.process import Process
from agentkernel.recording import Recorder
from tests.kept import facts
from tests.test_process import process

tokens = st.lists(st.integers(-1, 99), max_size=4)
ACTS = st.one_of(
    st.tuples(st.just("took"), tokens, st.binary(max_size=4)),
    st.tuples(st.just("edit"), st.integers(0, 9), st.integers(0, 4), tokens),
    st.tuples(st.just("soften"), st.binary(min_size=1, max_size=4)),
    st.tuples(st.sampled_from(["change", "commit", "sync", "crash"])),
)


class Kernel:
    """A recorder of one process, and how that stood when it was last committed."""

    def __init__(self, folder: str) -> None:
        self.journal = Journal(Path(folder) / "journal.db", "mixed", sync=lambda _file: None)
        self.recorder = Recorder(self.journal, lambda: 1.0)
        self.process = process()
        self.recorder.born(self.process, "file")
        self.text = b""
        self.commit()

    def commit(self) -> None:
        assert self.recorder.commit()
        self.committed, self.seen = copy.deepcopy(facts(self.process)), self.text

    def found(self) -> tuple[Recorder, Process]:
        recorder = Recorder(self.journal, lambda: 1.0)
        ((found, fingerprint),) = recorder.recover()
        assert fingerprint == "file"
        assert facts(found) == self.committed
        assert recorder.output(1, 0, 999) == self.seen
        return recorder, found

    def do(self, act: str, *values: object) -> None:
        one = self.process
        match act, values:
            case "took", (brought, text):
                self.recorder.took(one, list(brought), text, one.draws + 1)
                self.text += text
            case "edit", (start, length, brought):
                start %= len(one.tokens) + 1
                one.edit(start, start + length, brought)
            case "soften", (rows,) if not one.soft:
                one.soft = rows
                one.edit(0, 0, [-1])
            case "change", ():
                one.called += 1
                one.changed()
            case "commit", ():
                self.commit()
            case "sync", ():
                self.commit()
                asyncio.run(self.recorder.synced())
                assert not self.recorder.owes
            case "crash", ():
                self.commit()
                self.recorder, self.process = self.found()


@given(acts=st.lists(ACTS, max_size=30), most=st.integers(2, 6))
@settings(max_examples=150)
def test_what_was_committed_is_found_and_nothing_else(acts, most) -> None:
    with tempfile.TemporaryDirectory() as folder, patch("agentkernel.recording._MOST_RECORDS", most):
        kernel = Kernel(folder)
        try:
            for act, *values in acts:
                kernel.do(act, *values)
                kernel.found()
        finally:
            kernel.journal.close()
