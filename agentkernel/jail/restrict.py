"""What a process gives up for itself and its children, by Linux's own calls: Landlock and seccomp.

Rules
1. Nothing here is taken back: what is given up is given up until the end.
2. The caller says what it needs; a kernel that can't refuse all else says so by the version, beforehand.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 38, 22
_SECCOMP_MODE_FILTER = 2
# Landlock, <linux/landlock.h>: system calls have the same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIRECTORY = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE, MAKE, REFER, TRUNCATE, DEVICE = 0b11 << 4, 0x1FC0, 1 << 13, 1 << 14, 1 << 15
WRITE = WRITE_FILE | REMOVE | MAKE | REFER | TRUNCATE
TCP = 0b11  # bind and connect
SIGNALS_AND_ABSTRACT_SOCKETS = 0b11

Rule = tuple[str | int, int]  # a path, or the descriptor of one, and the rights below it


def no_new_privileges() -> bool:
    """Never again get privileges by running a program."""
    return bool(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)


def landlock_version() -> int:
    """What this kernel's Landlock knows; 0 or less without it."""
    return int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def landlock(handled: tuple[int, int, int], rules: Iterable[Rule]) -> bool:
    """Give up the handled rights (files, network, scopes) but where a rule gives them; whether it worked.

    A rule whose path is not there is left out.
    """
    # Older kernels take a shorter structure, and refuse a longer one unless its end is zero.
    attributes = struct.pack("QQQ", *handled)
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        for place, rights in rules:
            _allow(ruleset, place, rights)
        return bool(_libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, place: str | int, rights: int) -> None:
    try:
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC) if isinstance(place, str) else place
    except FileNotFoundError:
        return
    _libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    if isinstance(place, str):
        os.close(descriptor)


def seccomp(program: bytes) -> bool:
    """Filter system calls from here on; the program is as `seccomp.assemble` makes it."""
    buffer = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    return bool(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter_, 0, 0) == 0)
