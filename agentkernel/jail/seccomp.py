"""The system calls that a jail refuses, as a program for the kernel's filter.

Rules
1. Foreign interfaces (x32, 32-bit) kill the process: the same numbers mean other calls there.
2. What a jail must not do is EPERM; what is newer than this list, and clone3 (whose flags a filter can't
   read), doesn't exist: ENOSYS, for which programs have another way.
3. No socket of any family is made but a connected pair of local ones; no namespace, no tracing, no keys, no
   io_uring, no mounts, nothing put into a terminal's input.
"""

from __future__ import annotations

import errno
import platform
import struct
from typing import Any

# <linux/filter.h>, <linux/seccomp.h>, <linux/audit.h>
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000
_NEWEST = 452  # fchmodat2, Linux 6.6
_NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW flag
_AF_UNIX = 1
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

# By name: its number on x86_64 and on aarch64 (-1 where there is none), <asm/unistd.h>.
REFUSED: dict[str, tuple[int, int]] = {
    # sockets
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242),
    "bind": (49, 200), "listen": (50, 201),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "move_pages": (279, 239), "migrate_pages": (256, 238),
    # namespaces, mounts, roots
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429), "open_tree": (428, 428),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "swapon": (167, 224), "swapoff": (168, 225), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "mknod": (133, -1), "mknodat": (259, 33),
    # kernel interfaces with a history
    "bpf": (321, 280), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "userfaultfd": (323, 282), "perf_event_open": (298, 241),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "memfd_secret": (447, 447),
    "vmsplice": (278, 75), "personality": (135, 92), "modify_ldt": (154, -1), "uselib": (134, -1),
    "lookup_dcookie": (212, 18), "nfsservctl": (180, 42),
    # the machine
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "syslog": (103, 116),
    "acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161),
    "setdomainname": (171, 162), "iopl": (172, -1), "ioperm": (173, -1), "vhangup": (153, 58),
    # memory that outlives its process
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
}  # fmt: skip
# Those whose arguments decide.
DECIDED = {"socketpair": (53, 199), "clone": (56, 220), "clone3": (435, 435), "ioctl": (16, 29)}

Instruction = tuple[int, int, int, int]


def program(machine: str = platform.machine()) -> bytes | None:
    """The filter for this kind of machine, as bwrap and prctl take it; None for one it isn't written for."""
    if machine not in _AUDIT:
        return None
    refused = sorted(numbers(REFUSED, machine).values())
    code: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, _AUDIT[machine]), (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ]  # fmt: skip
    if machine == "x86_64":
        code += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL)]
    code += [(AT_LEAST, 0, 1, _NEWEST + 1), (RETURN, 0, 0, ERRNO | errno.ENOSYS)]
    decided = numbers(DECIDED, machine)
    code += [(EQUAL, 0, 1, decided["clone3"]), (RETURN, 0, 0, ERRNO | errno.ENOSYS)]
    refuse = (RETURN, 0, 0, ERRNO | errno.EPERM)
    code += _when(decided["clone"], 0, [(ANY_BIT, 0, 1, _NEW_NAMESPACES), refuse])
    code += _when(decided["socketpair"], 0, [(EQUAL, 1, 0, _AF_UNIX), refuse])
    code += _when(decided["ioctl"], 1, [(EQUAL, 1, 0, _TIOCSTI), (EQUAL, 0, 1, _TIOCLINUX), refuse])
    code += [(EQUAL, len(refused) - i, 0, number) for i, number in enumerate(refused)]
    return assemble([*code, (RETURN, 0, 0, ALLOW), refuse])


def newest() -> bytes:
    """The filter for what is newer than this list alone."""
    newer: list[Instruction] = [(AT_LEAST, 0, 1, _NEWEST + 1), (RETURN, 0, 0, ERRNO | errno.ENOSYS)]
    return assemble([(LOAD, 0, 0, NUMBER), *newer, (RETURN, 0, 0, ALLOW)])


def rules(machine: str = platform.machine()) -> dict[str, Any]:
    """The filter for this kind of machine as container runtimes take it, but for what is `newest`."""
    flags = (1 << bit for bit in range(32) if _NEW_NAMESPACES >> bit & 1)
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [f"SCMP_ARCH_{machine.upper()}"],
        "syscalls": [
            _rule(sorted(numbers(REFUSED, machine))),
            {**_rule(["clone3"]), "errnoRet": errno.ENOSYS},
            _rule(["socketpair"], {"index": 0, "value": _AF_UNIX, "op": "SCMP_CMP_NE"}),
            *(_rule(["clone"], _masked(0, flag, flag)) for flag in flags),
            *(_rule(["ioctl"], _masked(1, 0xFFFFFFFF, number)) for number in (_TIOCSTI, _TIOCLINUX)),
        ],
    }


def _rule(names: list[str], *arguments: dict[str, Any]) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM, "args": arguments}


def _masked(argument: int, mask: int, value: int) -> dict[str, Any]:
    return {"index": argument, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


def numbers(table: dict[str, tuple[int, int]], machine: str = platform.machine()) -> dict[str, int]:
    """The numbers of those system calls that this kind of machine has."""
    column = _column(machine)
    return {name: pair[column] for name, pair in table.items() if pair[column] >= 0}


def _column(machine: str) -> int:
    return 0 if machine == "x86_64" else 1


def _when(number: int, argument: int, check: list[Instruction]) -> list[Instruction]:
    """For one system call, a check of the low half of one argument, which refuses or falls through."""
    offset = ARGUMENTS + 8 * argument
    return [(EQUAL, 0, len(check) + 2, number), (LOAD, 0, 0, offset), *check, (RETURN, 0, 0, ALLOW)]


def assemble(code: list[Instruction]) -> bytes:
    """Instructions (code, jump if true, jump if false, operand) as struct sock_filter has them."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
