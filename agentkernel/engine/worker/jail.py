"""What the engine process gives up before it reads a model: files to write, network, new programs.

Rules
1. Layers are tried one by one; what holds is reported, a missing one is not an error.
2. Landlock refuses every write to a file system (a GPU's device files and the folder of images
   excepted) and, from ABI 4, TCP.
3. seccomp refuses sockets of every family, new programs, tracing and kernel interfaces; the sockets and
   descriptors the engine already has go on working.
"""

from __future__ import annotations

import ctypes
import errno
import platform

from agentkernel.jail import restrict
from agentkernel.jail.restrict import MAKE, REFER, REMOVE, TRUNCATE, WRITE_FILE
from agentkernel.jail.seccomp import (
    ALLOW,
    ARCHITECTURE,
    AT_LEAST,
    EQUAL,
    ERRNO,
    KILL,
    LOAD,
    NUMBER,
    RETURN,
    X32,
    assemble,
)

_PR_SET_DUMPABLE = 4
_MAKE_REGULAR, _REMOVE_FILE = 1 << 8, 1 << 5
_FILES_IN_A_FOLDER = WRITE_FILE | _REMOVE_FILE | _MAKE_REGULAR | TRUNCATE
_GPU_DEVICES = ("/dev/dri", "/dev/kfd", "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm")

_ARCHITECTURES = {
    "x86_64": (
        0xC000003E,
        # socket connect accept bind listen socketpair execve ptrace mount umount2 init_module
        # unshare kexec_load bpf io_uring_* execveat keyctl add_key setns process_vm_*
        # kill chmod fchmod chown fchown lchown setxattr* removexattr* fchownat fchmodat utimensat
        # pidfd_send_signal pidfd_getfd
        (41, 42, 43, 49, 50, 53, 59, 101, 165, 166, 175, 246, 248, 250, 272, 288, 308, 310, 311,
         321, 322, 425, 426, 427, 62, 90, 91, 92, 93, 94, 188, 189, 190, 197, 198, 199, 260, 268,
         280, 424, 438),
    ),
    "aarch64": (
        0xC00000B7,
        (39, 40, 97, 104, 105, 117, 198, 199, 200, 201, 202, 203, 217, 219, 221, 242, 268, 270,
         271, 280, 281, 425, 426, 427, 129, 52, 53, 54, 55, 88, 5, 6, 7, 14, 15, 16, 424, 438),
    ),
}  # fmt: skip


def enter(*, gpu: bool, folder: str = "") -> list[str]:
    """Give up what a model needn't have; returns the layers that hold, for STATUS.

    `folder` is where files may still be made and removed.
    """
    layers = []
    if restrict.no_new_privileges():
        layers.append("no_new_privs")
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    layers += _landlock(gpu=gpu, folder=folder)
    if _seccomp():
        layers.append("seccomp")
    return layers


def _landlock(*, gpu: bool, folder: str) -> list[str]:
    version = restrict.landlock_version()
    if version < 1:
        return []
    files = WRITE_FILE | REMOVE | MAKE | (REFER if version > 1 else 0) | (TRUNCATE if version > 2 else 0)
    rules: list[restrict.Rule] = [
        (device, WRITE_FILE) for device in (_GPU_DEVICES if gpu else ("/dev/null",))
    ]
    if folder:
        rules.append((folder, files & _FILES_IN_A_FOLDER))
    if not restrict.landlock((files, restrict.TCP if version > 3 else 0, 0), rules):
        return []
    return ["landlock_files", "landlock_tcp"] if version > 3 else ["landlock_files"]


def _seccomp() -> bool:
    known = _ARCHITECTURES.get(platform.machine())
    if known is None:
        return False
    audit, refused = known
    program = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, audit), (RETURN, 0, 0, KILL)]
    program.append((LOAD, 0, 0, NUMBER))
    program.append((AT_LEAST, len(refused) + 1, 0, X32))
    for i, number in enumerate(refused):
        program.append((EQUAL, len(refused) - i, 0, number))
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERRNO | errno.EPERM)]
    return restrict.seccomp(assemble(program))
