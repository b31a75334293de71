"""A workspace under any order of writes, deletions and a program's doings, beside a dictionary of bytes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agentkernel.jail.port import Limits
from agentkernel.syscalls.errors import ToolError
from agentkernel.syscalls.workspace import Usage, Workspace

FILES, BLOCK, MB = 6, 4096, 1 << 20
PATHS = st.sampled_from(["a", "b", "a/b", "a/b/c", "d/a", "d/b", "d/e/f"])
SIZES = st.sampled_from([0, 1, BLOCK, BLOCK + 1, MB // 2 - BLOCK, MB // 2, MB])


def above(path):
    """The directories a path is in."""
    parts = path.split("/")
    return {"/".join(parts[:count]) for count in range(1, len(parts))}


class WorkspaceMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.space = Workspace(self.folder, 1, Limits(workspace_mb=1, workspace_files=FILES))
        self.files, self.folders = {}, set()

    def teardown(self):
        if hasattr(self, "folder"):
            self.space.remove()
            assert list(self.folder.iterdir()) == []
            shutil.rmtree(self.folder)

    # what the model knows

    def bytes_of(self, files):
        return sum(-(-len(data) // BLOCK) * BLOCK for data in files.values())

    def refusal(self, path, data):
        """Why the file can't become that, or None."""
        if path in self.folders:
            return {"IS_A_DIRECTORY"}
        if above(path) & set(self.files):
            return {"NOT_A_DIRECTORY"}
        after = {**self.files, path: data}
        names = len(after) + len(self.folders | above(path))
        more = names - len(self.files) - len(self.folders), self.bytes_of(after) - self.bytes_of(self.files)
        full = names > FILES or self.bytes_of(after) > MB
        return {"QUOTA_EXCEEDED"} if full and max(more) > 0 else None

    def expect(self, codes, act, *arguments):
        """It fails for one of these reasons, or works when there are none; whether it did."""
        code = None
        try:
            act(*arguments)
        except ToolError as error:
            code = error.code
        assert code in codes if codes else code is None
        return code is None

    # what may happen

    @rule(path=PATHS, size=SIZES, fill=st.integers(0, 255))
    def put(self, path, size, fill):
        data = bytes([fill]) * size
        if self.expect(self.refusal(path, data), self.space.put, path, data):
            self.files[path] = data
            self.folders |= above(path)

    @rule(path=PATHS, size=SIZES, fill=st.integers(0, 255))
    def append(self, path, size, fill):
        data = self.files.get(path, b"") + bytes([fill]) * size
        if self.expect(self.refusal(path, data), self.space.append, path, bytes([fill]) * size):
            self.files[path] = data
            self.folders |= above(path)

    @rule(path=PATHS)
    def delete(self, path):
        holds = any(path in above(each) for each in [*self.files, *self.folders])
        codes = {"IS_A_DIRECTORY"} if holds else {"NOT_FOUND", "NOT_A_DIRECTORY"}
        there = path in self.files or (path in self.folders and not holds)
        if self.expect(None if there else codes, self.space.delete, path):
            self.files.pop(path, None)
            self.folders.discard(path)

    @rule(path=PATHS, size=SIZES, locked=st.booleans())
    def program(self, path, size, locked):
        """A program writes without asking, within no quota, and may lock what it wrote."""
        if path in self.folders or above(path) & set(self.files):
            return
        file = self.space.make() / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(size))
        file.chmod(0 if locked else 0o644)
        self.space.touched()
        self.files[path] = bytes(size)
        self.folders |= above(path)

    @rule()
    def remove(self):
        self.space.remove()
        self.files, self.folders = {}, set()

    @rule(path=PATHS, limit=SIZES)
    def read(self, path, limit):
        if path not in self.files:
            self.expect({"NOT_FOUND", "NOT_A_DIRECTORY", "IS_A_DIRECTORY"}, self.space.get, path, limit)
            return
        data = self.files[path]
        assert self.space.read(path, 3, limit) == (data[3 : 3 + limit], len(data))
        if self.expect({"TOO_LARGE"} if len(data) > limit else None, self.space.get, path, limit):
            assert self.space.get(path, limit) == data

    @invariant()
    def the_count_and_the_names_are_those_of_the_model(self):
        if not hasattr(self, "space"):
            return
        names = len(self.files) + len(self.folders)
        usage = self.space.usage()
        assert usage.complete == (names <= FILES)
        if usage.complete:
            assert usage == Usage(self.bytes_of(self.files), names)
        found, complete = self.space.walk(".", 99) if not self.space.empty else ([], True)
        assert complete
        assert {each.path for each in found} == {*self.files, *self.folders}
        assert {each.path for each in found if each.regular} == set(self.files)


TestWorkspace = WorkspaceMachine.TestCase
TestWorkspace.settings = settings(max_examples=100, stateful_step_count=30)
