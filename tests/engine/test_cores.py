"""Threads of a decode have a core each where all cores decode, and any core where not."""

import os
import threading
from pathlib import Path

import pytest

from agentkernel.engine.worker import llama
from agentkernel.engine.worker.batcher import Row
from agentkernel.engine.worker.cores import Cores
from tests.conftest import LLAMA

CORES = os.sched_getaffinity(0)


@pytest.fixture
def helpers():
    """Start threads that wait, as a library does within a decode; they end with the test."""
    over, started = threading.Event(), []

    def start(count):
        mine = [threading.Thread(target=over.wait) for _ in range(count)]
        for thread in mine:
            thread.start()
        started.extend(mine)
        return [thread.native_id for thread in mine]

    yield start
    over.set()
    for thread in started:
        thread.join()
    os.sched_setaffinity(0, CORES)


def tasks():
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


def places(*threads):
    return [os.sched_getaffinity(thread) for thread in (threading.get_native_id(), *threads)]


@pytest.mark.skipif(len(CORES) < 2, reason="one core holds all threads")
def test_where_all_cores_decode_each_thread_has_its_own(helpers):
    (stranger,) = helpers(1)
    cores = Cores()
    with cores.placed(len(CORES)):
        team = helpers(len(CORES) - 1)
    assert set.union(*places(*team)) == CORES
    assert all(len(place) == 1 for place in places(*team))
    assert os.sched_getaffinity(stranger) == CORES
    with cores.placed(1):
        pass
    assert places(*team) == [CORES] * len(CORES)
    with cores.placed(len(CORES)):
        pass
    assert set.union(*places(*team)) == CORES
    assert all(len(place) == 1 for place in places(*team))


@pytest.mark.skipif(len(CORES) < 2, reason="one core holds all threads")
def test_the_librarys_own_threads_are_found(models_dir):
    found = []

    def decode():
        context, before = llama.Context(model, 1, 64, 64, len(CORES)), tasks()
        assert context.decode([Row(0, [5, 6, 7], 0, sample=True)]) == 0
        found.extend(places(*(tasks() - before)))
        context.close()

    llama.set_up()
    model = llama.Model(str(models_dir / f"{LLAMA}.gguf"), 0, lambda _fraction: None)
    thread = threading.Thread(target=decode)
    thread.start()
    thread.join()
    model.close()
    assert len(found) == len(CORES)
    assert all(len(place) == 1 for place in found)
    assert set.union(*found) == CORES


def test_fewer_threads_than_cores_run_anywhere(helpers):
    with Cores().placed(1):
        team = helpers(1)
    assert places(*team) == [CORES, CORES]
