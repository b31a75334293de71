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
import os
import platform
import struct
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _PR_SET_DUMPABLE = 38, 22, 4
_SECCOMP_MODE_FILTER = 2

# Landlock, <linux/landlock.h>: system calls have the same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_WRITE_FILE, _MAKE_TO_REFER, _TRUNCATE = 1 << 1, 0x3FF0, 1 << 14
_FILES_IN_A_FOLDER = _WRITE_FILE | 1 << 5 | 1 << 8 | _TRUNCATE  # remove and make regular files
_NET = 0b11  # bind and connect by TCP
_GPU_DEVICES = ("/dev/dri", "/dev/kfd", "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm")

# seccomp-BPF, <linux/filter.h> and <linux/seccomp.h>.
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_X32 = 0x40000000  # system calls of the x32 interface pass for x86_64's otherwise
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
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
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        layers.append("no_new_privs")
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    layers += _landlock(gpu=gpu, folder=folder)
    if _seccomp():
        layers.append("seccomp")
    return layers


def _landlock(*, gpu: bool, folder: str) -> list[str]:
    abi = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if abi < 1:
        return []
    files = _WRITE_FILE | _MAKE_TO_REFER & ~(0 if abi > 1 else 1 << 13)
    files |= _TRUNCATE if abi > 2 else 0
    attributes = struct.pack("QQ", files, _NET if abi > 3 else 0)
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return []
    try:
        for device in _GPU_DEVICES if gpu else ("/dev/null",):
            _allow(ruleset, device, _WRITE_FILE)
        if folder:
            _allow(ruleset, folder, files & _FILES_IN_A_FOLDER)
        if _libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
            return []
    finally:
        os.close(ruleset)
    return ["landlock_files", "landlock_tcp"] if abi > 3 else ["landlock_files"]


def _allow(ruleset: int, path: str, rights: int) -> None:
    if not Path(path).exists():
        return
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", rights, descriptor)
    _libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    os.close(descriptor)


def _seccomp() -> bool:
    known = _ARCHITECTURES.get(platform.machine())
    if known is None:
        return False
    audit, refused = known
    program = [(_LOAD_WORD, 0, 0, 4), (_JUMP_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL)]
    program.append((_LOAD_WORD, 0, 0, 0))
    program.append((_JUMP_AT_LEAST, len(refused) + 1, 0, _X32))
    for i, number in enumerate(refused):
        program.append((_JUMP_EQUAL, len(refused) - i, 0, number))
    program += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer))
    return bool(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter_, 0, 0) == 0)
