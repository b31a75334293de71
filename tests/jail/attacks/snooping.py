"""Attacks that read or change what is not theirs: files, environments, devices, /proc and /sys."""

from __future__ import annotations

from tests.jail.attacks.attack import Attack, Seen, ended, only, refused, reports

_DEVICES = {"null", "zero", "full", "random", "urandom", "fd", "stdin", "stdout", "stderr", "shm"}


def _environment(told: Seen) -> None:
    """Only what every job gets, and what Python adds to it."""
    assert set(told.matching("environment")["environment"].split()) <= {
        "PATH",
        "HOME",
        "LANG",
        "PWD",
        "LC_CTYPE",
    }


def _devices(told: Seen) -> None:
    """None but those that hold nothing, if they can be listed at all."""
    found = told.matching("devices")["devices"]
    allowed = _DEVICES | ({"pts"} if told.outcome.backend == "runsc" else set())  # a sentry's own
    assert found == "EACCES" or set(found.removeprefix("did:").split()) <= allowed, found


def _ended_or_full(told: Seen) -> None:
    """It ended by itself, or for files that who isn't root can't count."""
    assert told.outcome.killed == "workspace" or (told.outcome.status, told.outcome.killed) == (0, ""), told


FILES = (
    Attack(
        "reads of the host's secrets",
        """
        home = os.path.dirname(facts["secret"])
        for name, path in (
            ("shadow", "/etc/shadow"), ("users", "/etc/passwd"), ("sudo", "/etc/sudoers"),
            ("ssh", "/etc/ssh"), ("root", "/root"), ("home", "/home"), ("log", "/var/log"),
            ("spool", "/var/spool"), ("boot", "/boot"), ("run", "/run/systemd"),
            ("docker", "/var/run/docker.sock"), ("secret", facts["secret"]),
            ("state", home), ("neighbour", facts["neighbour"]),
        ):
            attempt("list." + name, os.listdir, path)
            attempt("open." + name, open, path)
            attempt("stat." + name, os.stat, path)
        """,
        (
            refused("open.*", "list.shadow", "list.secret", "list.state", "list.neighbour"),
            ended(),
        ),
    ),
    Attack(
        "traversal",
        """
        inside = os.open(".", os.O_RDONLY)
        for depth in range(1, 12):
            up = "../" * depth
            for name in ("secret", "neighbour"):
                attempt("path.%s" % name, open, up + facts[name])
                way = up + facts[name].lstrip("/")
                attempt("at.%s" % name, lambda: os.open(way, os.O_RDONLY, dir_fd=inside))
        attempt("root", open, "/proc/self/root" + facts["secret"])
        attempt("first", open, "/proc/1/root" + facts["secret"])
        attempt("working", open, "/proc/self/cwd/../.." + facts["secret"])
        attempt("first.working", open, "/proc/1/cwd/../.." + facts["secret"])
        attempt("overlong", open, "./" * 2040 + ".." + facts["secret"])
        """,
        (
            refused("path.*", "at.*", "root", "first", "working", "first.working", "overlong"),
            ended(),
        ),
    ),
    Attack(
        "symbolic links out of the workspace",
        """
        for name, target in (
            ("sum.txt", facts["secret"]), ("out", os.path.dirname(facts["secret"])),
            ("root", "/proc/1/root"), ("shadow", "/etc/shadow"),
            ("up", "../../../../../../.." + facts["secret"]), ("loop", "loop"),
            ("theirs", facts["neighbour"]),
        ):
            os.symlink(target, name)
            attempt("follow." + name, open, name)
            attempt("write." + name, open, name, "r+b")
        say("planted", "did")
        """,
        (refused("follow.*", "write.*"), reports("planted", "did"), ended()),
    ),
    Attack(
        "hard links",
        """
        for name, source in (
            ("secret", facts["secret"]), ("theirs", facts["neighbour"] + "/theirs.txt"),
            ("shadow", "/etc/shadow"), ("shell", "/bin/sh"), ("python", sys.executable),
        ):
            attempt("link." + name, os.link, source, name)
        try:
            python = os.open(sys.executable, os.O_RDONLY)
        except OSError:
            python = os.open("/bin/sh", os.O_RDONLY)
        attempt("link.fd", lambda: os.link("/proc/self/fd/%d" % python, "fd"))
        with open("one", "w") as file:
            file.write("1")
        for count in range(3):
            attempt("own", os.link, "one", "one%d" % count)
        """,
        (refused("link.*"), reports("own", "did", "EPERM"), ended()),
    ),
    Attack(
        "FIFOs and devices among the files",
        """
        import stat
        attempt("fifo", os.mkfifo, "sum.txt")
        for name, kind, number in (
            ("null", stat.S_IFCHR, (1, 3)), ("memory", stat.S_IFCHR, (1, 1)),
            ("log", stat.S_IFCHR, (1, 11)), ("disk", stat.S_IFBLK, (254, 0)),
            ("other", stat.S_IFBLK, (8, 0)), ("tun", stat.S_IFCHR, (10, 200)),
        ):
            for folder in ("", "/tmp/", "/dev/shm/"):
                attempt("make." + name, os.mknod, folder + name, kind | 0o666, os.makedev(*number))
        """,
        (refused("make.*"), reports("fifo", "did", "EPERM"), ended()),
    ),
    Attack(
        "owners, modes and attributes that outlive it",
        """
        import fcntl, struct
        with open("/bin/sh", "rb") as shell, open("tool", "wb") as tool:
            tool.write(shell.read(4096))
        attempt("setuid.mode", os.chmod, "tool", 0o6777)
        for name, uid in (("root", 0), ("first", 1), ("nobody", 65533)):
            attempt("owner." + name, os.chown, "tool", uid, uid)
        every = bytes.fromhex("01000002ffffffff000000000000000000000000")
        attempt("capability", os.setxattr, "tool", "security.capability", every)
        attempt("trusted", os.setxattr, "tool", "trusted.x", b"1")
        file = os.open("tool", os.O_RDONLY)
        attempt("immutable", fcntl.ioctl, file, 0x40086602, struct.pack("l", 0x10))
        attempt("append", fcntl.ioctl, file, 0x40086602, struct.pack("l", 0x20))
        os.mkdir("locked")
        open("locked/file", "w").close()
        os.chmod("locked", 0)
        say("planted", "did")
        """,
        (
            refused("owner.*", "capability", "trusted", "immutable", "append"),
            reports("planted", "did"),
            _ended_or_full,
        ),
    ),
    Attack(
        "names that break those who list them",
        """
        for name in (b"\\xff\\xfe", b"a\\nb", b"\\x1b[2J", b"x" * 255, b"-rf", b" ", b"*", b"{}", b"\\\\",
        b"=", b"con\\t"):
            with open(name, "wb") as file:
                file.write(b"1")
        os.symlink(b"\\xff" * 4000, b"link")
        for stamp in (-(1 << 40), (1 << 33), 1 << 45):
            attempt("time", os.utime, b"*", (stamp, stamp))
        say("named", "did")
        """,
        (reports("named", "did"), ended()),
    ),
    Attack(
        "writes outside the workspace",
        """
        folders = (
            "/", "/etc", "/usr", "/usr/bin", "/usr/lib", "/bin", "/lib", "/var", "/var/tmp", "/run",
            "/home", "/root", "/opt", "/srv", "/mnt", "/dev", "/dev/pts", "/dev/mqueue", "/proc", "/sys",
            "/tmp", "/dev/shm", "/run/lock", "/run/shm", os.path.dirname(facts["secret"]),
            facts["neighbour"], ".",
        )
        open_ones = []
        for folder in folders:
            try:
                with open(folder + "/" + facts["token"], "wb") as file:
                    file.write(b"escaped")
                open_ones.append(folder)
            except OSError:
                pass
        say("writable", " ".join(open_ones))
        for name, action in (
            ("replace", lambda: os.rename(os.getcwd(), "/tmp/moved")),
            ("remove", lambda: os.rmdir(os.getcwd())), ("etc", lambda: os.rename("/etc", "/tmp/etc")),
            ("python", lambda: open(sys.executable, "ab")), ("unlink", lambda: os.unlink("/usr/bin/env")),
            ("tmp", lambda: os.rename("/tmp", "tmp")),
        ):
            attempt("change." + name, action)
        """,
        (only("writable", "/tmp", "/dev/shm", "."), refused("change.*"), ended()),
    ),
)

PROBING = (
    Attack(
        "secrets in environments and arguments",
        """
        say("environment", " ".join(os.environ))
        found = []
        for entry in ["self"] + list(range(1, 400)) + [facts["kernel"], facts["spawner"], os.getppid()]:
            for name in ("environ", "cmdline", "maps", "auxv", "mem", "task/%s/environ" % entry):
                path = "/proc/%s/%s" % (entry, name)
                try:
                    with open(path, "rb") as file:
                        told = file.read(1 << 16)
                    if b"s3" b"cret" in told:
                        found.append(path)
                except OSError:
                    pass
        say("found", " ".join(found) or "nothing")
        say("user", "%d %d" % (os.getuid(), os.getgid()))
        """,
        (_environment, only("found", "nothing"), ended()),
    ),
    Attack(
        "/proc",
        """
        for name in (
            "kcore", "kallsyms", "kmsg", "sysrq-trigger", "sys/kernel/core_pattern", "sys/kernel/modprobe",
            "sys/kernel/hostname", "sys/vm/drop_caches", "sys/fs/binfmt_misc/register", "timer_list",
            "sys/kernel/ns_last_pid", "sys/fs/suid_dumpable", "1/mem", "1/root/etc/shadow", "1/environ",
            "self/oom_score_adj", "self/uid_map", "self/attr/exec", "bus/pci", "acpi/alarm", "scsi/scsi",
            "irq/0/smp_affinity", "%d/root" % facts["kernel"],
        ):
            attempt("open." + name, open, "/proc/" + name, "r+b")
        """,
        (refused("open.*"), ended()),
    ),
    Attack(
        "/sys",
        """
        for name in (
            "kernel/uevent_helper", "kernel/debug", "kernel/security", "kernel/vmcoreinfo", "firmware/efi",
            "power/state", "class/net", "module", "fs/cgroup", "fs/bpf", "fs/fuse/connections",
            "devices/system/cpu", "fs/cgroup/release_agent", "fs/cgroup/memory/release_agent",
            "fs/cgroup/cgroup.procs",
        ):
            attempt("read." + name, os.listdir, "/sys/" + name)
            attempt("write." + name, open, "/sys/" + name, "r+b")
        attempt("made", os.mkdir, "/sys/fs/cgroup/" + facts["token"])
        """,
        (refused("read.*", "write.*", "made"), ended()),
    ),
    Attack(
        "/dev",
        """
        attempt("devices", lambda: " ".join(os.listdir("/dev")))
        for name in (
            "mem", "kmem", "kmsg", "port", "vda", "sda", "nvme0n1", "loop0", "loop-control", "kvm", "fuse",
            "vsock", "vhost-vsock", "net/tun", "tty", "console", "tty0", "ttyS0", "userfaultfd", "uinput",
            "input/event0", "rtc0", "cpu/0/msr", "dri/card0", "nvidia0", "watchdog", "hpet",
            "mapper/control", "snapshot", "btrfs-control",
        ):
            attempt("open." + name, os.open, "/dev/" + name, os.O_RDWR | os.O_NOCTTY)
        """,
        (_devices, refused("open.*"), ended()),
    ),
    Attack(
        "the terminal of who started the kernel",
        """
        import fcntl
        def push(descriptor, number):
            for letter in b"id\\n":
                fcntl.ioctl(descriptor, number, bytes([letter]))
        for descriptor in (0, 1, 2):
            attempt("type.%d" % descriptor, push, descriptor, 0x5412)
            attempt("paste.%d" % descriptor, fcntl.ioctl, descriptor, 0x541C, b"\\x03")
            attempt("steal.%d" % descriptor, fcntl.ioctl, descriptor, 0x540E, 1)
        attempt("open", os.open, "/dev/tty", os.O_RDWR)
        attempt("session", os.tcgetpgrp, 0)
        """,
        (refused("type.*", "paste.*", "steal.*", "open", "session"), ended()),
    ),
)

SNOOPING = (*FILES, *PROBING)
