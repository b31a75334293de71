"""Attacks that take more than their share: processes, memory, time, disk, descriptors, output."""

from __future__ import annotations

from typing import Any

import msgspec

from agentkernel.jail.port import Limits
from tests.jail.attacks.attack import (
    QUICK,
    Attack,
    Seen,
    at_most,
    ended,
    killed,
    refused,
    reports,
    unless_own,
)
from tests.jail.conftest import own_memory_mb


def _limits(**changed: Any) -> Limits:
    return msgspec.structs.replace(QUICK, **changed)


_SHORT = _limits(wall_s=0.3)


def _stopped_or_refused(told: Seen) -> None:
    """It was killed for a limit, or met an error and ended by itself."""
    limits = ("memory", "workspace", *(("wall",) * (told.outcome.backend == "runsc")))  # which is slow
    assert told.outcome.killed in limits or "full" in told.report, told.outcome


def _failed(told: Seen) -> None:
    """It was killed for its memory, or was refused more."""
    assert told.outcome.killed == "memory" or b"MemoryError" in told.outcome.output, told.outcome


def _within_output(told: Seen) -> None:
    """No more output is kept than the limit, and the job was killed for it."""
    assert told.outcome.killed == "output", told.outcome
    assert len(told.outcome.output) <= QUICK.output_bytes


def _within_memory(told: Seen) -> None:
    """What was held never went over the limit, as far as the machine can say."""
    assert told.outcome.memory_kb <= (QUICK.memory_mb + own_memory_mb(told.outcome) + 1) * 1024, told.outcome


def _filling(path: str, count: int, megabytes: int) -> str:
    """Write so many files of so many megabytes."""
    return f"""
        written = 0
        try:
            for index in range({count}):
                with open({path!r} % index, "wb", buffering=0) as file:
                    for megabyte in range({megabytes}):
                        written += file.write(bytes(1 << 20))
        except OSError as fault:
            say("full", errno.errorcode[fault.errno])
        say("written", written)
    """


PROCESSES = (
    Attack(
        "fork bomb",
        """
        say("begun", "did")
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """,
        (reports("begun", "did"), killed("wall", "cpu")),
        _SHORT,
    ),
    Attack(
        "fork bomb in the shell",
        """
        say("begun", "did")
        os.execv("/bin/sh", ["sh", "-c", "b() { b | b & }; while :; do b; done", facts["token"]])
        """,
        (reports("begun", "did"), killed("wall", "cpu", "output", "")),
        _SHORT,
    ),
    Attack(
        "as many children as it gets",
        """
        import signal
        held = 0
        try:
            while held < 500:
                if not os.fork():
                    signal.pause()
                held += 1
        except OSError as fault:
            say("fork", errno.errorcode[fault.errno])
        say("held", held)
        """,
        (unless_own(refused("fork"), at_most("held", QUICK.pids + 2), ended()),),
    ),
    Attack(
        "as many threads as it gets",
        """
        import _thread, time
        held = 0
        try:
            while held < 500:
                _thread.start_new_thread(time.sleep, (60,))
                held += 1
        except RuntimeError:
            say("thread", "EAGAIN")
        say("held", held)
        os._exit(0)
        """,
        (refused("thread"), at_most("held", QUICK.pids + 2), ended()),
    ),
)

MEMORY = (
    Attack(
        "memory bomb",
        """
        say("begun", "did")
        held = []
        while True:
            held.append(bytearray(b"x" * (1 << 22)))
        """,
        (reports("begun", "did"), _within_memory, _failed),
    ),
    Attack(
        "memory bomb of many small processes",
        """
        import mmap, signal
        say("begun", "did")
        for child in range(12):
            if not os.fork():
                block = mmap.mmap(-1, 24 << 20)
                for page in range(0, 24 << 20, 4096):
                    block[page] = 1
                signal.pause()
        signal.pause()
        """,
        (reports("begun", "did"), _within_memory, killed("memory")),
        _limits(wall_s=2.0),
        layer="cgroups",
    ),
    Attack(
        "memory in anonymous files",
        """
        held = []
        try:
            for count in range(400):
                if count % 2 == 0:
                    held.append(os.memfd_create("m"))
                os.write(held[-1], bytes(1 << 20))
        except OSError as fault:
            say("full", errno.errorcode[fault.errno])
        say("written", count)
        """,
        (_stopped_or_refused, _within_memory),
    ),
    Attack("fill of /tmp", _filling("/tmp/%d", 80, 3), (_stopped_or_refused, _within_memory)),
    Attack("fill of /dev/shm", _filling("/dev/shm/%d", 80, 3), (_stopped_or_refused, _within_memory)),
    Attack(
        "files without bytes in /tmp",
        """
        count = 0
        try:
            while count < 200_000:
                open("/tmp/%d" % count, "w").close()
                count += 1
        except OSError as fault:
            say("full", errno.errorcode[fault.errno])
        say("count", count)
        """,
        (_stopped_or_refused, _within_memory),
        _limits(memory_mb=32),
        layer="cgroups",
    ),
)

DISK = (
    Attack("huge file", _filling("huge%d", 1, 64), (_stopped_or_refused,)),
    Attack("many files of an allowed size", _filling("part%d", 60, 1), (_stopped_or_refused,)),
    Attack(
        "files without names",
        """
        held, written = [], 0
        try:
            for index in range(40):
                if index % 2:
                    held.append(os.open(".", os.O_TMPFILE | os.O_RDWR))
                else:
                    held.append(os.open("hidden", os.O_CREAT | os.O_RDWR))
                    os.unlink("hidden")
                for megabyte in range(3):
                    written += os.write(held[-1], bytes(1 << 20))
            import signal
            say("written", written)
            signal.pause()
        except OSError as fault:
            say("full", errno.errorcode[fault.errno])
        """,
        (_stopped_or_refused,),
    ),
    Attack(
        "sparse file of a terabyte",
        """
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with open("sparse", "wb") as file:
            attempt("truncate", file.truncate, 1 << 40)
            attempt("allocate", os.posix_fallocate, file.fileno(), 0, 1 << 40)
        """,
        (refused("truncate", "allocate"), ended()),
    ),
    Attack(
        "many inodes",
        """
        makers = (os.mkdir, lambda name: open(name, "w").close(), lambda name: os.symlink("x", name))
        count = 0
        try:
            while count < 4000:
                makers[count % 3]("%d" % count)
                count += 1
        except OSError as fault:
            say("full", errno.errorcode[fault.errno])
        say("count", count)
        """,
        (_stopped_or_refused,),
    ),
    Attack(
        "a tree deeper than a path is long",
        """
        for depth in range(120):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
        say("full", "nothing")
        """,
        (_stopped_or_refused,),
    ),
)

TIME = (
    Attack(
        "CPU loop",
        """
        say("begun", "did")
        while True:
            pass
        """,
        (reports("begun", "did"), killed("cpu")),
        _limits(cpu_s=0.3),
    ),
    Attack(
        "CPU loop in four processes",
        """
        say("begun", "did")
        os.fork()
        os.fork()
        while True:
            pass
        """,
        (reports("begun", "did"), killed("cpu")),
        _limits(cpu_s=0.3),
        layer="cgroups",
    ),
    Attack(
        "loop that ignores signals",
        """
        import signal
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        say("begun", "did")
        while True:
            signal.pause()
        """,
        (reports("begun", "did"), killed("wall")),
        _SHORT,
    ),
    Attack(
        "a program that stops itself and its group",
        """
        import signal
        say("begun", "did")
        os.fork()
        os.kill(0, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        """,
        (reports("begun", "did"), killed("wall")),
        _SHORT,
    ),
    Attack(
        "more of the processor than its turn",
        """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        def real_time_io():
            number = 30 if os.uname().machine == "aarch64" else 251
            if libc.syscall(number, 1, 0, 1 << 13):
                raise OSError(ctypes.get_errno(), "")
        attempt("nice", os.setpriority, os.PRIO_PROCESS, 0, -20)
        attempt("fifo", os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(50))
        attempt("round", os.sched_setscheduler, 0, os.SCHED_RR, os.sched_param(1))
        attempt("io", real_time_io)
        """,
        (unless_own(refused("nice")), refused("fifo", "round", "io"), ended()),
    ),
)

STREAMS = (
    Attack(
        "output flood",
        """
        while True:
            os.write(1, bytes(65536))
        """,
        (_within_output,),
    ),
    Attack(
        "output flood by many on both streams",
        """
        os.fork()
        os.fork()
        while True:
            os.write(2, b"e" * 5000)
            os.write(1, b"o" * 5000)
        """,
        (_within_output,),
    ),
    Attack(
        "descriptors and pipe buffers",
        """
        import fcntl
        held = []
        try:
            while len(held) < 5000:
                held += os.pipe()
                try:
                    fcntl.fcntl(held[-1], fcntl.F_SETPIPE_SZ, 1 << 20)
                except OSError:
                    pass
        except OSError as fault:
            say("pipe", errno.errorcode[fault.errno])
        say("held", len(held))
        """,
        (refused("pipe"), at_most("held", QUICK.files), ended()),
    ),
    Attack(
        "limits raised again",
        """
        import resource
        for name in ("NPROC", "NOFILE", "CORE", "CPU", "FSIZE"):
            which = getattr(resource, "RLIMIT_" + name)
            say("hard." + name, resource.getrlimit(which)[1])
            try:
                resource.setrlimit(which, (resource.RLIM_INFINITY,) * 2)
            except (OSError, ValueError):
                say("raise." + name, "EPERM")
            else:
                say("raise." + name, "did")
        """,
        (refused("raise.*"), at_most("hard.NOFILE", QUICK.files), reports("hard.CORE", "0"), ended()),
    ),
)

EXHAUSTION = (*PROCESSES, *MEMORY, *DISK, *TIME, *STREAMS)
