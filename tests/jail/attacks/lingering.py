"""Attacks that outlive their job or reach other processes: daemons, zombies, signals, tracing."""

from __future__ import annotations

from tests.jail.attacks.attack import Attack, Seen, ended, filtered, only, refused, reports


def _settled(told: Seen) -> None:
    """It ended by itself or was killed for its output: it did not have to wait for the wall clock."""
    assert told.outcome.killed in ("", "output"), told.outcome


def _crashed(told: Seen) -> None:
    """It died of its own fault or was refused more, and nothing else is said of it."""
    assert told.outcome.killed in ("", "memory"), told.outcome
    assert told.outcome.status != 0, told.outcome


LINGERING = (
    Attack(
        "daemon by double fork",
        """
        if not os.fork():
            os.setsid()
            if not os.fork():
                for each in range(64):
                    try:
                        os.close(each)
                    except OSError:
                        pass
                while True:
                    with open("alive", "w") as file:
                        file.write("still")
            os._exit(0)
        os.wait()
        say("daemon", "did")
        """,
        (reports("daemon", "did"), ended()),
    ),
    Attack(
        "daemon that holds the output open",
        """
        import signal
        if not os.fork():
            os.setsid()
            signal.pause()
        say("daemon", "did")
        """,
        (reports("daemon", "did"), ended()),
    ),
    Attack(
        "flood by a child that is left",
        """
        if not os.fork():
            while True:
                os.write(1, b"x" * 100)
        say("left", "did")
        """,
        (_settled,),
    ),
    Attack(
        "zombies",
        """
        for each in range(12):
            if not os.fork():
                if not os.fork():
                    os._exit(0)
                os._exit(0)
        say("zombies", "did")
        """,
        (reports("zombies", "did"), ended()),
    ),
    Attack(
        "a name that breaks parsers of /proc",
        """
        import ctypes, signal
        ctypes.CDLL(None).prctl(15, b"x) Z 1 (\\n1 0", 0, 0, 0)
        if not os.fork():
            os.setsid()
            signal.pause()
        say("named", "did")
        """,
        (reports("named", "did"), ended()),
    ),
    Attack(
        "orphans adopted by a process of its own",
        """
        import ctypes, signal
        libc = ctypes.CDLL(None)
        libc.prctl(36, 1, 0, 0, 0)
        libc.prctl(1, 0, 0, 0, 0)
        if not os.fork():
            libc.prctl(1, 0, 0, 0, 0)
            if not os.fork():
                signal.pause()
            os._exit(0)
        os.wait()
        say("adopted", "did")
        """,
        (reports("adopted", "did"), ended()),
    ),
    Attack(
        "crash with a core dump",
        """
        import resource
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
        except (OSError, ValueError):
            say("core", "EPERM")
        os.abort()
        """,
        (refused("core"), ended(-6, 134)),
    ),
    Attack(
        "crash by a stack without end",
        """
        sys.setrecursionlimit(1 << 30)
        class Deep:
            def __getattr__(self, name):
                return repr(self)
            def __repr__(self):
                return self.x
        say("begun", "did")
        import pickle
        def deeper(inner):
            return sorted([0], key=lambda each: deeper(inner))
        deeper(0)
        """,
        (reports("begun", "did"), _crashed),
    ),
    Attack(
        "death by the signal that limits use",
        """
        say("begun", "did")
        os.kill(os.getpid(), 9)
        """,
        (reports("begun", "did"), ended(-9, 137)),
    ),
    Attack(
        "death of the jail's first process",
        """
        import signal
        for each in (1, os.getppid()):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGSTOP, signal.SIGKILL):
                aside("kill.%d.%d" % (each, number), os.kill, each, number)
        say("alive", "did")
        """,
        (_settled,),
    ),
)

REACHING = (
    Attack(
        "signals to the kernel, to the spawner and to everybody",
        """
        import signal
        mine = {os.getpid(), os.getppid(), 1, 2}
        for name in {"kernel", "spawner"}:
            if facts[name] not in mine:
                attempt("kill." + name, os.kill, facts[name], signal.SIGCONT)
                attempt("kill.handle." + name, os.pidfd_open, facts[name])
        met = set()
        for pid in range(3, 70_000):
            try:
                os.kill(pid, 0)
                met.add(pid)
            except ProcessLookupError:
                pass
            except OSError:
                met.add(pid)
        say("met", " ".join(map(str, met - mine)) or "nothing")
        """,
        (refused("kill.*"), only("met", "nothing"), ended()),
        layer="namespaces",
    ),
    Attack(
        "death for all who can be signalled",
        """
        import signal
        if not os.fork():
            signal.pause()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say("begun", "did")
        os.kill(0, signal.SIGTERM)
        try:
            os.kill(facts["kernel"], 0)
        except OSError:
            os.kill(-1, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        (reports("begun", "did"), ended(-9, 137)),
    ),
    Attack(
        "tracing",
        """
        import signal
        child = os.fork()
        if not child:
            signal.pause()
        aside("trace.me", call, "ptrace", 0, 0, 0, 0)
        for name, pid in (("child", child), ("parent", os.getppid()), ("kernel", facts["kernel"])):
            attempt("trace.attach." + name, call, "ptrace", 16, pid, 0, 0)
            attempt("trace.seize." + name, call, "ptrace", 0x4206, pid, 0, 0)
        """,
        (filtered("trace.*"), ended()),
        calls=True,
    ),
    Attack(
        "memory of other processes",
        """
        block = ctypes.create_string_buffer(64)
        piece = (ctypes.c_size_t * 2)(ctypes.addressof(block), 64)
        here = ctypes.addressof(piece)
        for name, pid in (("parent", os.getppid()), ("first", 1), ("kernel", facts["kernel"])):
            attempt("read." + name, call, "process_vm_readv", pid, here, 1, here, 1, 0)
            attempt("write." + name, call, "process_vm_writev", pid, here, 1, here, 1, 0)
            attempt("compare." + name, call, "kcmp", pid, os.getpid(), 0, 0, 0)
            attempt("advise." + name, call, 440, pid, here, 1, 21, 0)
            attempt("open." + name, open, "/proc/%d/mem" % pid, "r+b")
        attempt("take", call, 438, 0, 1, 0)
        """,
        (refused("read.*", "write.*", "compare.*", "advise.*", "open.*", "take"), ended()),
        calls=True,
    ),
    Attack(
        "descriptors that were left open",
        """
        import stat
        found = []
        for number in range(3, 4096):
            try:
                os.fstat(number)
                found.append(str(number))
            except OSError:
                pass
        say("open", " ".join(found) or "nothing")
        say("kinds", " ".join(str(stat.S_IFMT(os.fstat(number).st_mode)) for number in (0, 1, 2)))
        attempt("read.output", os.read, 1, 10)
        attempt("write.input", os.write, 0, b"x")
        say("directory", os.getcwd())
        """,
        (only("open", "nothing"), only("kinds", "4096"), refused("read.output", "write.input"), ended()),
    ),
    Attack(
        "a descriptor passed on and sockets of a pair connected elsewhere",
        """
        import socket
        address = "\\0" + facts["token"]
        try:
            near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        except OSError as fault:
            say("connect.abstract", errno.errorcode[fault.errno])
            say("send.abstract", errno.errorcode[fault.errno])
        else:
            attempt("connect.abstract", near.connect, address)
            attempt("send.abstract", far.sendto, b"escaped", address)
        """,
        (refused("connect.abstract", "send.abstract"), ended()),
    ),
    Attack(
        "shared memory, semaphores and queues that outlive it",
        """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        key = int(facts["token"][:6], 16)
        for probe, made in (
            ("shm", libc.shmget(key, 1 << 20, 0o1666)),
            ("sem", libc.semget(key, 4, 0o1666)),
            ("msg", libc.msgget(key, 0o1666)),
            ("mq", libc.mq_open(("/" + facts["token"]).encode(), 0o102, 0o666, None)),
        ):
            say(probe, "did" if made >= 0 else errno.errorcode[ctypes.get_errno()])
        """,
        (reports("shm", "did", "EPERM", "ENOSYS", "ENOSPC", "ENOMEM"), ended()),
    ),
)
