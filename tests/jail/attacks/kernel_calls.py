"""Attacks on the kernel's system calls: sockets, name spaces, mounts, privileges, and calls few know."""

from __future__ import annotations

import msgspec

from tests.jail.attacks.attack import QUICK, Attack, Seen, ended, filtered, only, refused, reports

_NEW_NAMESPACES = """
        kinds = {
            "time": 0x80, "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000,
            "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000,
        }
"""


def _no_privilege(told: Seen) -> None:
    """No set of capabilities holds one."""
    for probe, result in told.matching("held.*").items():
        assert result == "0", f"{probe}={result}"


NETWORK = (
    Attack(
        "sockets of every family",
        """
        for family in range(47):
            for kind in (1, 2, 3, 4, 5, 6, 10):
                for flags in (0, 0o4000, 0o2000000):
                    attempt("socket.%d" % family, call, "socket", family, kind | flags, 0)
        attempt("vsock", call, "socket", 40, 1, 0)
        attempt("raw", call, "socket", 2, 3, 255)
        attempt("packet", call, "socket", 17, 3, 0x300)
        attempt("netlink", call, "socket", 16, 3, 15)
        attempt("high", call, "socket", (1 << 32) | 1, 1, 0)
        """,
        (filtered("socket.*", "vsock", "raw", "packet", "netlink", "high"), ended()),
        calls=True,
    ),
    Attack(
        "the network by ways of the language",
        """
        import socket
        attempt("tcp", socket.create_connection, ("127.0.0.1", 22), 0.2)
        attempt("listen", socket.create_server, ("127.0.0.1", 0))
        attempt("abstract", socket.socket, socket.AF_UNIX)
        for name in ("localhost", "example.com"):
            try:
                socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
            except OSError:
                say("resolve", "EFAIL")
            else:
                say("resolve.%s" % name, "EFAIL" if name == "localhost" else "did")
        """,
        (refused("tcp", "listen", "abstract", "resolve*"), ended()),
    ),
)

NAMESPACES = (
    Attack(
        "new name spaces by unshare",
        _NEW_NAMESPACES
        + """
        for name, flag in kinds.items():
            aside("unshare." + name, call, "unshare", flag)
        aside("unshare.all", call, "unshare", sum(kinds.values()))
        """,
        (refused("unshare.*"), ended()),
        calls=True,
    ),
    Attack(
        "new name spaces by clone and clone3",
        _NEW_NAMESPACES
        + """
        def cloned(number, *arguments):
            child = call(number, *arguments)
            if not child:
                os._exit(0)
            return child
        for name, flag in kinds.items():
            if name != "time":
                aside("clone." + name, cloned, "clone", flag | 17, 0, 0, 0, 0)
        for name, flag in kinds.items():
            block = (ctypes.c_uint64 * 11)(flag, 0, 0, 0, 17)
            aside("clone3." + name, cloned, 435, ctypes.addressof(block), 88)
        aside("clone3.plain", cloned, 435, 0, 0)
        """,
        (refused("clone.*"), filtered("clone3.*"), ended()),
        calls=True,
    ),
    Attack(
        "name spaces of others",
        """
        for pid in {1, facts["kernel"]} - {os.getppid()}:
            for name in ("mnt", "pid", "net", "user", "ipc", "uts", "cgroup"):
                attempt("open.%s.%s" % (pid, name), os.open, "/proc/%s/ns/%s" % (pid, name), os.O_RDONLY)
        attempt("enter.bad", call, "setns", -1, 0x20000000)
        def enter(pid):
            call("setns", os.pidfd_open(pid), 0x10000000 | 0x20000)
        for pid in (1, os.getppid(), facts["kernel"]):
            attempt("enter.pid", enter, pid)
        """,
        (refused("open.*", "enter.*"), ended()),
        calls=True,
    ),
    Attack(
        "mounts, old and new",
        """
        text = lambda value: ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p).value
        for kind in (b"proc", b"sysfs", b"tmpfs", b"cgroup", b"cgroup2", b"overlay", b"devpts", b"fuse",
        b"bpf", b"ext4"):
            attempt("mount." + kind.decode(), call, "mount", text(b"none"), text(b"/tmp"), text(kind), 0, 0)
            attempt("open.mount." + kind.decode(), call, 430, text(kind), 0)
        attempt("bind", call, "mount", text(b"/"), text(b"/tmp"), 0, 4096, 0)
        attempt("bind.again", call, "mount", text(b"/usr"), text(b"/usr"), 0, 4096 | 32, 0)
        attempt("writable", call, "mount", 0, text(b"/usr"), 0, 32 | 4096, 0)
        for path in (b"/usr", b".", b"/tmp", b"/dev", b"/"):
            attempt("umount." + path.decode(), call, "umount2", text(path), 2)
        attempt("pivot", call, "pivot_root", text(b"/tmp"), text(b"/tmp"))
        attempt("tree.clone", call, 428, -100, text(b"/"), 1)
        attempt("tree.move", call, 429, -1, text(b""), -100, text(b"/tmp"), 4)
        attempt("tree.pick", call, 433, -100, text(b"/"), 0)
        attempt("tree.attributes", call, 442, -100, text(b"/usr"), 0, text(b"x" * 32), 32)
        attempt("swap", call, "swapon", text(b"swap"), 0)
        """,
        (
            refused("mount.*", "open.mount.*", "bind*", "writable", "umount.*", "pivot", "tree.*", "swap"),
            ended(),
        ),
        calls=True,
    ),
    Attack(
        "chroot and the way back",
        """
        root = os.open("/usr", os.O_RDONLY)
        os.mkdir("cell")
        attempt("chroot", os.chroot, "cell")
        attempt("chroot.again", os.chroot, ".")
        os.fchdir(root)
        for each in range(40):
            os.chdir("..")
        attempt("secret", open, facts["secret"].lstrip("/"))
        attempt("up", open, "../.." + facts["secret"])
        attempt("move", os.rename, facts["secret"], "cell")
        """,
        (refused("chroot*", "secret", "up", "move"), ended()),
    ),
)

PRIVILEGES = (
    Attack(
        "other users",
        """
        say("user.is.root", os.getuid() == 0)
        for name in ("setuid", "setgid", "seteuid", "setegid"):
            for value in (0, 1, 65533):
                if value != os.getuid():
                    aside("%s.%d" % (name, value), getattr(os, name), value)
        aside("setresuid", os.setresuid, 0, 0, 0)
        aside("setgroups", os.setgroups, [0, 4, 6, 42])
        aside("initgroups", os.initgroups, "root", 0)
        groups = set(os.getgroups()) - {os.getgid(), 65534}
        say("groups", " ".join(map(str, groups)) or "nothing")
        """,
        (reports("user.is.root", "False"), refused("set*", "initgroups"), only("groups", "nothing"), ended()),
    ),
    Attack(
        "programs with the setuid bit",
        """
        libc = __import__("ctypes").CDLL(None)
        say("gains.nothing", libc.prctl(39, 0, 0, 0, 0))
        import subprocess
        for command in (["/usr/bin/su", "-c", "id -u"], ["/usr/bin/newgrp", "root"], ["/usr/bin/chsh", "-s",
        "/x"]):
            if os.path.exists(command[0]):
                done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
                say("status." + command[0], "did" if done.returncode == 0 else "EFAIL")
        say("status.end", "nothing")
        """,
        (reports("gains.nothing", "1"), refused("status.*"), ended()),
    ),
    Attack(
        "capabilities",
        """
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        sets = (ctypes.c_uint32 * 6)()
        libc.capget(header, sets)
        for index, name in enumerate(("effective", "permitted", "inheritable")):
            say("held." + name, sets[index] | sets[index + 3])
        say("held.bounding", sum(libc.prctl(23, each, 0, 0, 0) == 1 for each in range(41)))
        full = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
        def failing(name, *arguments):
            ctypes.set_errno(0)
            if getattr(libc, name)(*arguments) < 0:
                raise OSError(ctypes.get_errno(), "")
        attempt("take.all", failing, "capset", header, full)
        for each in (0, 1, 7, 12, 21):
            attempt("take.ambient", failing, "prctl", 47, 2, each, 0, 0)
        attempt("take.bits", failing, "prctl", 28, 47, 0, 0, 0)
        """,
        (_no_privilege, refused("take.*"), ended()),
        calls=True,
        layer="capabilities",
    ),
    Attack(
        "calls of the administrator",
        """
        text = lambda value: ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p).value
        block = bytes(256)
        zero = text(block)
        for name, arguments in (
            ("reboot", (1, 2, 3, 4)), ("sethostname", (text(b"mine"), 4)), ("settimeofday", (zero, 0)),
            ("clock_settime", (0, zero)), ("init_module", (zero, 8, zero)), ("finit_module", (0, zero, 0)),
            ("delete_module", (text(b"x"), 0)), ("kexec_load", (0, 0, 0, 0)), ("acct", (text(b"acct"),)),
            ("syslog", (3, zero, 10)), ("quotactl", (0, zero, 0, zero)), ("fanotify_init", (0, 0)),
            ("open_by_handle_at", (-100, zero, 0)), ("iopl", (3,)), ("ioperm", (0, 8, 1)),
            ("lookup_dcookie", (0, zero, 8)), ("vhangup", ()),
        ):
            aside("admin." + name, call, name, *arguments)
        """,
        (refused("admin.*"), ended()),
        calls=True,
    ),
)

RARE = (
    Attack(
        "io_uring, bpf, keys, faults and counters",
        """
        aside("io_uring.setup", call, 425, 4, 0)
        aside("io_uring.enter", call, 426, -1, 0, 0, 0, 0, 0)
        aside("io_uring.register", call, 427, -1, 0, 0, 0)
        aside("bpf", call, "bpf", 9999, 0, 0)
        aside("keys.ring", call, "keyctl", 9999, 0, 0)
        aside("keys.session", call, "keyctl", 1, 0, 0)
        aside("keys.add", call, "add_key", 0, 0, 0, 0, -4)
        aside("keys.request", call, "request_key", 0, 0, 0, -4)
        aside("userfaultfd", call, "userfaultfd", 0xFFFF)
        aside("perf", call, "perf_event_open", 0, 0, -1, -1, 0)
        """,
        (filtered("io_uring.*", "bpf", "keys.*", "userfaultfd", "perf"), ended()),
        calls=True,
    ),
    Attack(
        "numbers of no system call",
        """
        for number in (*range(500, 520), 600, 1000, 4096, 65535, 0x3FFFFFFF, 0x7FFFFFFF):
            aside("unknown.%d" % number, call, number, 0, 0, 0, 0, 0, 0)
        """,
        (filtered("unknown.*"), ended()),
        calls=True,
    ),
    Attack(
        "system calls of the x32 kind",
        """
        for number in (39, 41, 56, 101, 520, 521, 540, 547):
            aside("x32.%d" % number, call, 0x40000000 | number, 0, 0, 0, 0, 0)
        """,
        (filtered("x32.*"), ended()),
        calls=True,
    ),
    Attack(
        "system calls of 32 bits",
        """
        import mmap
        def old_way(number, first, second):
            page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            load = b"".join(
                bytes([register]) + value.to_bytes(4, "little")
                for register, value in ((0xB8, number), (0xBB, first), (0xB9, second))
            )
            page.write(b"\\x53" + load + b"\\x31\\xd2\\xcd\\x80\\x5b\\xc3")
            entry = ctypes.addressof(ctypes.c_char.from_buffer(page))
            result = ctypes.CFUNCTYPE(ctypes.c_int)(entry)()
            if result < 0:
                raise OSError(-result, "")
            return result
        if ARM:
            say("old.none", "nothing")
        else:
            aside("old.getpid", old_way, 20, 0, 0)
            aside("old.socket", old_way, 359, 1, 1)
            aside("old.unshare", old_way, 310, 0x10000000, 0)
            aside("old.ptrace", old_way, 26, 0, 0)
        """,
        (refused("old.*"), ended()),
        calls=True,
    ),
    Attack(
        "a call to the terminal with bits above the 32nd",
        """
        letter = ctypes.create_string_buffer(b"x")
        address = ctypes.addressof(letter)
        for name, high in (("plain", 0), ("high", 1 << 32), ("higher", 1 << 63)):
            for probe, number in (("push.", 0x5412 | high), ("paste.", 0x541C | high)):
                attempt(probe + name, call, "ioctl", 0, ctypes.c_long(number).value, address)
        """,
        (filtered("push.*", "paste.*"), ended()),
        calls=True,
    ),
    Attack(
        "a program of memory alone, with another personality",
        """
        attempt("personality.bits", call, "personality", 0x0040000)
        attempt("personality.read", call, "personality", 0x0400000)
        attempt("personality.32", call, "personality", 8)
        code = "; ".join((
            "import os, errno, ctypes",
            "libc = ctypes.CDLL(None, use_errno=True)",
            "told = lambda result: 'did' if result >= 0 else errno.errorcode[ctypes.get_errno()]",
            "print('second.socket=' + told(libc.socket(1, 1, 0)))",
            "print('second.unshare=' + told(libc.unshare(0x10000000)))",
            "print('second.mount=' + told(libc.mount(0, 0, 0, 0, 0)))",
        ))
        image = os.memfd_create("program")
        with open("/usr/bin/python3", "rb") as source:
            while piece := source.read(1 << 20):
                os.write(image, piece)
        os.execve(image, [facts["token"], "-I", "-S", "-c", code], {"PYTHONHOME": "/usr"})
        """,
        (filtered("second.*"), ended()),
        msgspec.structs.replace(QUICK, workspace_mb=16),
        calls=True,
    ),
    Attack(
        "a filter above the filter",
        """
        program = (ctypes.c_uint64 * 1)(0x7FFF0000_00000006)
        header = (ctypes.c_uint64 * 2)(1, ctypes.addressof(program))
        attempt("filter", call, "seccomp", 1, 0, ctypes.addressof(header))
        attempt("listener", call, "seccomp", 1, 8, ctypes.addressof(header))
        attempt("later.socket", call, "socket", 1, 1, 0)
        attempt("later.unshare", call, "unshare", 0x10000000)
        """,
        (filtered("later.*"), ended()),
        calls=True,
    ),
    Attack(
        "arguments and environments without end",
        """
        block = "x" * 100_000
        try:
            os.execve("/bin/true", ["true", facts["token"]] + [block] * 40, {"A": "x"})
        except OSError as fault:
            say("arguments", errno.errorcode[fault.errno])
        try:
            os.execve("/bin/true", ["true"], {str(number): block for number in range(40)})
        except OSError as fault:
            say("environment", errno.errorcode[fault.errno])
        os.execve("/bin/true", ["true"] + [""] * 20_000, {})
        """,
        (refused("arguments", "environment"), ended()),
    ),
)

KERNEL_CALLS = (*NETWORK, *NAMESPACES, *PRIVILEGES, *RARE)
