"""The filter, run by an interpreter of its own: what every system call of either machine comes to."""

from __future__ import annotations

import errno
import struct

import pytest

from agentkernel.jail import seccomp

_MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
_CLONE_FLAGS = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)


def filtered(machine: str, number: int, *arguments: int, architecture: int = 0) -> int:
    """What the kernel would answer."""
    program = seccomp.program(machine)
    assert program
    return run(program, machine, number, *arguments, architecture=architecture)


def run(program: bytes, machine: str, number: int, *arguments: int, architecture: int = 0) -> int:
    """A filter's answer, by the rules of classic BPF."""
    data = struct.pack("=IIQ6Q", number, architecture or _MACHINES[machine], 0, *(*arguments, *[0] * 6)[:6])
    at = accumulator = 0
    while True:
        code, true, false, operand = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        if code == 0x06:
            return int(operand)
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, operand)
            continue
        holds = {
            0x15: accumulator == operand,
            0x35: accumulator >= operand,
            0x45: bool(accumulator & operand),
        }[code]
        at += true if holds else false


def number(machine: str, name: str) -> int:
    return seccomp.numbers({**seccomp.REFUSED, **seccomp.DECIDED}, machine)[name]


@pytest.mark.parametrize("machine", _MACHINES)
def test_what_a_jail_must_not_do_is_refused_and_the_rest_is_not(machine: str) -> None:
    refused = set(seccomp.numbers(seccomp.REFUSED, machine).values())
    decided = set(seccomp.numbers(seccomp.DECIDED, machine).values())
    for each in range(453):
        if each not in decided:
            assert filtered(machine, each) == (_EPERM if each in refused else _ALLOW), each


@pytest.mark.parametrize("machine", _MACHINES)
@pytest.mark.parametrize("each", [453, 462, 600, 1 << 20, 0x3FFFFFFF])
def test_what_is_newer_than_the_list_does_not_exist(machine: str, each: int) -> None:
    assert filtered(machine, each) == _ENOSYS


@pytest.mark.parametrize("machine", _MACHINES)
@pytest.mark.parametrize("family", range(50))
def test_sockets_of_every_family_are_refused_and_pairs_of_all_but_local_ones(
    machine: str, family: int
) -> None:
    assert filtered(machine, number(machine, "socket"), family, 1) == _EPERM
    expected = _ALLOW if family == 1 else _EPERM
    assert filtered(machine, number(machine, "socketpair"), family, 1) == expected


@pytest.mark.parametrize("machine", _MACHINES)
@pytest.mark.parametrize("flag", _CLONE_FLAGS)
def test_clone_makes_processes_and_threads_but_no_namespaces(machine: str, flag: int) -> None:
    clone = number(machine, "clone")
    assert filtered(machine, clone, 17) == _ALLOW
    assert filtered(machine, clone, 0x3D0F00) == _ALLOW  # a thread
    assert filtered(machine, clone, 17 | flag) == _EPERM
    assert filtered(machine, clone, 17 | flag | 1 << 40) == _EPERM


@pytest.mark.parametrize("machine", _MACHINES)
def test_clone3_does_not_exist_so_that_programs_use_clone(machine: str) -> None:
    assert filtered(machine, number(machine, "clone3"), 17) == _ENOSYS


@pytest.mark.parametrize("machine", _MACHINES)
@pytest.mark.parametrize("request_", [0x5412, 0x541C, 1 << 32 | 0x5412])
def test_nothing_is_put_into_a_terminals_input(machine: str, request_: int) -> None:
    assert filtered(machine, number(machine, "ioctl"), 0, request_) == _EPERM
    assert filtered(machine, number(machine, "ioctl"), 0, 0x5413) == _ALLOW


@pytest.mark.parametrize("machine", _MACHINES)
@pytest.mark.parametrize("architecture", [0x40000003, 0x40000028, 0xC00000B7, 0xC000003E])
def test_foreign_interfaces_kill(machine: str, architecture: int) -> None:
    if architecture != _MACHINES[machine]:
        assert filtered(machine, 0, architecture=architecture) == _KILL
    if machine == "x86_64":
        for each in (0, 39, 41, 0x1FF):
            assert filtered(machine, 0x40000000 | each) == _KILL


def test_what_runtimes_do_not_know_is_refused_by_its_number() -> None:
    for each in (0, 41, 452):
        assert run(seccomp.newest(), "x86_64", each) == _ALLOW
    for each in (453, 462, 600, 1 << 20):
        assert run(seccomp.newest(), "x86_64", each) == _ENOSYS


def ruled(machine: str, name: str, *arguments: int) -> int:
    """What a container runtime's filter would answer, by the OCI runtime specification."""
    rules = seccomp.rules(machine)
    assert rules["defaultAction"] == "SCMP_ACT_ALLOW"
    for rule in rules["syscalls"]:
        assert rule["action"] == "SCMP_ACT_ERRNO"
        if name in rule["names"] and all(matches(each, arguments) for each in rule["args"]):
            return 0x50000 | int(rule["errnoRet"])
    return _ALLOW


def matches(condition: dict[str, int | str], arguments: tuple[int, ...]) -> bool:
    given, value = arguments[int(condition["index"])], int(condition["value"])
    if condition["op"] == "SCMP_CMP_MASKED_EQ":
        return given & value == int(condition["valueTwo"])
    assert condition["op"] == "SCMP_CMP_NE"
    return given != value


@pytest.mark.parametrize("machine", _MACHINES)
def test_runtimes_are_told_to_refuse_what_the_filter_refuses(machine: str) -> None:
    table = seccomp.numbers({**seccomp.REFUSED, **seccomp.DECIDED}, machine)
    high = 1 << 40
    calls = [(name, (1, 1)) for name in table]
    calls += [("clone", (17 | flag | more, 0)) for flag in (0, *_CLONE_FLAGS) for more in (0, high)]
    calls += [("socketpair", (family, 1)) for family in range(50)]
    calls += [("ioctl", (0, request | more)) for request in (0x5412, 0x541C, 0x5413) for more in (0, high)]
    for name, arguments in calls:
        assert ruled(machine, name, *arguments) == filtered(machine, table[name], *arguments), name


def test_there_is_no_filter_for_a_machine_it_was_not_written_for() -> None:
    assert seccomp.program("riscv64") is None
