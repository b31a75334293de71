"""What a change has saved: the processor time of one process, and two kernels in turns."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import changes, machine


def test_the_processor_time_of_a_process_is_that_of_all_its_threads():
    """A thread that has computed shows beside the first one, which has only waited for it since its start."""
    program = "import threading, time\ndone = threading.Event()\n"
    program += "def work():\n sum(range(10**6))\n done.set()\n time.sleep(60)\n"
    program += "threading.Thread(target=work, daemon=True).start()\ndone.wait()\n"
    program += "print('done', flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first = int(Path(f"/proc/{process.pid}/task/{process.pid}/schedstat").read_text().split()[0])
        assert changes._cpu(psutil.Process(process.pid)) > first + 1_000_000  # nanoseconds
        process.kill()


@pytest.mark.skipif(not (machine.ROOT / ".git").exists() or not shutil.which("git"), reason="no repository")
def test_a_commit_s_tree_is_the_kernel_as_it_was(tmp_path):
    """It is whole, and none of the working tree's uncommitted files are in it."""
    tree = changes._tree(tmp_path / "tree", "HEAD")
    assert (tree / "agentkernel" / "cli" / "__main__.py").is_file()
    assert not (tree / ".git").exists()


def test_an_unknown_work_is_refused_with_those_there_are():
    """The command line says how it is used."""
    command = [sys.executable, "-m", "benchmarks.changes", "nothing", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=machine.ROOT, check=False)
    assert done.returncode == 1
    assert "churn,streams,shared" in done.stderr
