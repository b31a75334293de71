"""KV images in memory and on disk: right or not at all."""

import pytest

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
    def __init__(self, folder=None):
        self.slots, self.told = Slots(), []
        self.images = Images(self.slots, folder, self.told.append)

    def settle(self):
        """Wait for the writer."""
        self.images._writer.submit(int).result()

    def ops(self):
        return [event.op for event in self.told]


@pytest.fixture
def bench(tmp_path):
    """Images with a folder, one of ten tokens already on disk under PID 1."""
    bench = Bench(tmp_path)
    bench.slots.cells[0] = b"0123456789"
    bench.images.save(1, 0, 10)
    bench.images.store(1)
    bench.settle()
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
    assert bench.images.copy(4, 3, 2, source=2) == 2
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
    assert file.stat().st_size == 32 + 10
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


def test_another_engines_file_is_never_loaded_and_goes_at_the_start(bench, tmp_path):
    (file,) = tmp_path.iterdir()
    stolen = file.read_bytes()
    again = Bench(tmp_path)
    assert list(tmp_path.iterdir()) == []
    again.slots.cells[0] = b"0123456789"
    again.images.save(1, 0, 10)
    again.images.store(1)
    again.settle()
    file.write_bytes(stolen)
    assert again.images.load(1, 2, 20) == 0


def test_a_disk_that_takes_nothing_costs_the_image_only(tmp_path):
    bench = Bench(tmp_path)
    bench.slots.cells[0] = b"0123456789"
    bench.images.save(1, 0, 10)
    (tmp_path / "1.kv-part").mkdir()  # the file can't be made
    bench.images.store(1)
    assert bench.images.load(1, 2, 20) == 0
    assert bench.ops() == ["out", "failed", "failed"]
