"""KV images in memory and on disk: right or not at all."""

import hashlib
import os

import pytest

from agentkernel.engine import port
from agentkernel.engine.worker.images import Images


class Slots:
    """Slots whose state is what was put into them."""

    def __init__(self):
        self.cells = dict.fromkeys(range(4), b"")
        self.partial = True

    def state(self, slot):
        return self.cells[slot]

    def restore(self, slot, state):
        self.cells[slot] = bytes(state)
        return True

    def drop(self, slot, start=0):
        if start and not self.partial:
            return False
        self.cells[slot] = self.cells[slot][:start]
        return True


class Bench:
    def __init__(self, folder=None, **options):
        self.slots, self.told = Slots(), []
        self.images = Images(self.slots, folder, self.told.append, **options)

    def settle(self):
        """Wait for the thread of the files."""
        self.images._files.submit(int).result()

    def keep(self, pid, data=b"0123456789"):
        """An image of so many tokens on disk."""
        self.slots.cells[0] = data
        self.images.save(pid, 0, len(data))
        self.images.store(pid)
        self.settle()

    def ops(self):
        return [event.op for event in self.told]


@pytest.fixture
def bench(tmp_path):
    """Images with a folder, one of ten tokens already on disk under PID 1."""
    bench = Bench(tmp_path)
    bench.keep(1)
    return bench


def test_an_image_in_memory_comes_back_once():
    bench = Bench()
    bench.slots.cells[0] = b"0123456789"
    assert bench.images.save(1, 0, 10)
    assert bench.images.load(1, 2, 20) == 10
    assert bench.slots.cells[2] == b"0123456789"
    assert bench.images.load(1, 3, 20) == 0
    assert bench.ops() == ["out", "in"]


def test_a_donors_image_is_cut_to_the_shared_prefix_and_stays():
    bench = Bench()
    bench.slots.cells[0] = b"0123456789"
    bench.images.save(1, 0, 10)
    assert bench.images.load(2, 1, 4, source=1) == 4
    assert bench.slots.cells[1] == b"0123"
    assert bench.images.load(3, 2, 6, source=1) == 6
    assert bench.images.copy(4, 3, 2, bench.images.take(2)) == 2
    assert bench.slots.cells[3] == b"01"


def test_a_model_that_cannot_drop_a_part_gets_nothing_rather_than_too_much():
    bench = Bench()
    bench.slots.cells[0], bench.slots.partial = b"0123456789", False
    bench.images.save(1, 0, 10)
    assert bench.images.load(2, 1, 4, source=1) == 0
    assert bench.slots.cells[1] == b""
    assert bench.ops() == ["out", "failed"]


def test_an_image_on_disk_comes_back_and_its_file_goes(bench, tmp_path):
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == b"0123456789"
    assert bench.images.load(1, 2, 20) == 10
    assert bench.slots.cells[2] == b"0123456789"
    bench.settle()
    assert list(tmp_path.iterdir()) == []
    assert bench.ops() == ["out", "disk-out", "disk-in"]


def flip(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


DAMAGE = {
    "flipped": flip,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "grown": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "empty": lambda file: file.write_bytes(b""),
    "missing": lambda file: file.unlink(),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_never_loaded(bench, tmp_path, damage):
    (file,) = tmp_path.iterdir()
    DAMAGE[damage](file)
    assert bench.images.load(1, 2, 20) == 0
    assert bench.slots.cells[2] == b""
    assert bench.ops()[-1] == "failed"


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_not_fetched_either(bench, tmp_path, damage):
    (file,) = tmp_path.iterdir()
    DAMAGE[damage](file)
    bench.images.fetch(1, int)
    bench.settle()
    assert bench.images.load(1, 2, 20) == 0


def test_another_engines_files_go_at_the_start(bench, tmp_path):
    Bench(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_process_s_file_is_never_loaded(bench, tmp_path):
    """Nor one of another model or build: what counts is what this engine wrote under this PID."""
    bench.keep(2, b"9876543210")
    (tmp_path / "2.kv").replace(tmp_path / "1.kv")
    assert bench.images.load(1, 2, 20) == 0
    assert bench.slots.cells[2] == b""


def test_loading_what_was_fetched_reads_no_file(bench, tmp_path):
    fetched = []
    bench.images.fetch(1, lambda: fetched.append(1))
    bench.settle()
    assert fetched == [1]
    assert not bench.images.away(1)
    for file in tmp_path.iterdir():
        file.unlink()
    assert bench.images.load(1, 2, 20) == 10
    assert bench.slots.cells[2] == b"0123456789"


def test_a_donor_on_disk_stays_there(bench, tmp_path):
    assert bench.images.load(2, 1, 4, source=1) == 4
    assert bench.images.away(1)
    assert bench.images.load(3, 2, 10, source=1) == 10
    assert bench.slots.cells[2] == b"0123456789"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_clone_outlives_its_original_in_memory_and_on_disk(bench, tmp_path):
    bench.images.clone(1, -1)
    bench.images.drop(1)
    bench.settle()
    assert bench.images.load(2, 1, 20, source=-1) == 10
    bench.slots.cells[0] = b"abc"
    bench.images.save(3, 0, 3)
    bench.images.clone(3, -2)
    bench.images.drop(3)
    assert bench.images.load(4, 2, 20, source=-2) == 3
    assert (bench.slots.cells[1], bench.slots.cells[2]) == (b"0123456789", b"abc")
    bench.images.drop(-1)
    bench.settle()
    assert list(tmp_path.iterdir()) == []


def test_a_clone_of_what_is_being_written_is_whole(tmp_path):
    bench = Bench(tmp_path)
    bench.slots.cells[0] = b"0123456789"
    bench.images.save(1, 0, 10)
    bench.images.store(1)
    bench.images.clone(1, -1)
    bench.images.drop(1)
    assert bench.images.load(2, 1, 20, source=-1) == 10
    assert bench.slots.cells[1] == b"0123456789"


def test_nothing_has_no_clone():
    bench = Bench()
    bench.images.clone(1, -1)
    assert [(event.pid, event.op, event.bytes) for event in bench.told] == [(-1, "clone", 0)]


def test_images_are_compressed_when_that_was_asked_for(tmp_path):
    bench = Bench(tmp_path, compress=True)
    bench.keep(1, b"ab" * 5000)
    (file,) = tmp_path.iterdir()
    stored = file.stat().st_size
    assert stored < 200
    assert bench.told[-1].op == "disk-out"
    assert bench.told[-1].bytes == stored
    assert bench.images.load(1, 2, 20_000) == 10_000
    assert bench.slots.cells[2] == b"ab" * 5000


def test_a_disk_that_takes_nothing_costs_the_image_only(tmp_path):
    bench = Bench(tmp_path)
    bench.slots.cells[0] = b"0123456789"
    bench.images.save(1, 0, 10)
    (tmp_path / "1.kv-part").mkdir()  # the file can't be made
    bench.images.store(1)
    assert bench.images.load(1, 2, 20) == 0
    assert bench.ops() == ["out", "failed", "failed"]


def test_a_fetch_that_goes_wrong_is_still_told(bench, monkeypatch):
    """Else who waits for it would wait for ever."""

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(bench.images, "_read", fail)
    fetched = []
    bench.images.fetch(1, lambda: fetched.append(1))
    bench.settle()
    assert fetched == [1]


def test_what_was_fetched_in_vain_is_not_fetched_again(bench, tmp_path):
    """Who waits for it goes on without."""
    (file,) = tmp_path.iterdir()
    file.unlink()
    assert bench.images.away(1)
    bench.images.fetch(1, int)
    bench.settle()
    assert not bench.images.away(1)
    assert bench.images.load(1, 2, 20) == 0


def test_a_file_of_another_engines_is_read_when_it_was_given_with_its_hash(bench, tmp_path):
    (tmp_path / "7.kv").write_bytes(b"01234567")
    digest = hashlib.blake2b(b"01234567").digest()
    bench.images.adopt(port.Adopt(7, 8, 8, digest))
    assert bench.images.load(7, 1, 5) == 5
    assert bench.slots.cells[1] == b"01234"
    bench.settle()
    assert not (tmp_path / "7.kv").exists()
    (tmp_path / "8.kv").write_bytes(b"01234567")
    bench.images.adopt(port.Adopt(8, 8, 8, hashlib.blake2b(b"other").digest()))
    assert bench.images.load(8, 2, 5) == 0


def test_a_clone_on_disk_is_told_of_once_it_is_there(bench, tmp_path):
    bench.keep(1)
    bench.images.clone(1, -5)
    bench.settle()
    assert (tmp_path / "-5.kv").read_bytes() == (tmp_path / "1.kv").read_bytes()
    assert (bench.told[-1].pid, bench.told[-1].op, bench.told[-1].tokens) == (-5, "disk-out", 10)


def test_files_are_written_on_any_core(tmp_path):
    """The thread that decodes has one of its own by the time it stores the first image."""
    cores, images = os.sched_getaffinity(0), Images(Slots(), tmp_path, print)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert images._files.submit(os.sched_getaffinity, 0).result() == cores
    finally:
        os.sched_setaffinity(0, cores)
