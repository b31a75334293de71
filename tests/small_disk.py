"""A disk of so many bytes: a tmpfs in a mount namespace of its own, where a test may make one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_UNSHARE = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def run_on_a_disk_of(size: int, folder: Path, program: str) -> None:
    """Run a program while the folder is such a disk; it must succeed. Skips where none can be mounted."""
    mount = f"mount -t tmpfs -o size={size} tmpfs {folder}"
    try:
        subprocess.run([*_UNSHARE, mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    command = [*_UNSHARE, f'{mount} && exec {sys.executable} -c "$0"', program]
    done = subprocess.run(command, check=False, cwd=_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
