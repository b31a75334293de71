"""How Python code gets into a jail: a small program reads it from standard input, before what it is for.

Rules
1. A jail made ahead and one made at once run the same program, so code behaves alike in both.
2. The interpreter is a real one below /usr, never a version manager's shim.
"""

from __future__ import annotations

import marshal
import subprocess
from functools import cache
from pathlib import Path

from agentkernel.jail.port import Job

# Reads length, then (code, arguments, environment); what follows is the code's standard input. Builtin
# modules only: `-I -S` starts without `os`, and without `exit`. A traceback begins with the code's own lines.
# What signals its process group reaches nobody who makes the jail.
# A jail that waits has compiled and run something by the time its code comes: most of that is then in memory.
# Code that has imported nothing, and left no file open and nothing in a module, leaves nothing to the
# interpreter's end but its own module, as far as anybody sees: that gone, it ends at once, a ms sooner.
_PROGRAM = """
def main():
    import builtins, gc, marshal, posix, sys
    if posix.getsid(0) != posix.getpid():
        posix.setpgid(0, 0)
    def held():
        return {name: len(getattr(each, "__dict__", ())) for name, each in sys.modules.items()}
    def opened(number):
        try:
            posix.fstat(number)
        except OSError:
            return False
        return True
    def take(count):
        data = b""
        while len(data) < count:
            more = posix.read(0, count - len(data))
            if not more:
                posix._exit(0)
            data += more
        return data
    def practise():
        exec(compile("def f(n):\\n    return [f'{i}' for i in range(n)]\\nf(9)", "<string>", "exec"), {})
        gc.collect()
    posix.set_blocking(0, False)
    try:
        size = posix.read(0, 4)
    except BlockingIOError:
        practise()
        size = b""
    posix.set_blocking(0, True)
    size += take(4 - len(size))
    code, arguments, environment = marshal.loads(take(int.from_bytes(size, "big")))
    sys.argv[1:] = arguments
    for name, value in environment.items():
        posix.putenv(name.encode(), value.encode())
        posix.environ[name.encode()] = value.encode()
    builtins.exit = builtins.quit = sys.exit
    gc.freeze()
    module = type(sys)("__main__")
    module.__dict__.update(sys.modules["__main__"].__dict__)
    del module.main
    sys.modules["__main__"] = None
    before = held()
    sys.modules["__main__"] = module
    try:
        exec(compile(code, "<string>", "exec"), module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        sys.excepthook(type(error), error.with_traceback(error.__traceback__.tb_next), None)
        sys.exit(1)
    sys.modules["__main__"] = None
    if held() != before or any(map(opened, range(3, 64))):
        sys.modules["__main__"] = module
        return
    del module
    gc.collect()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        return
    posix._exit(0)
main()
"""


_COMPILE = """
import marshal, sys
sys.stdout.buffer.write(marshal.dumps(compile(sys.stdin.read(), "<string>", "exec")))
"""


def interpreter() -> str | None:
    """The machine's own Python; None when there is none below /usr."""
    for path in map(Path, ("/usr/bin/python3", "/usr/local/bin/python3")):
        if path.exists() and path.resolve().is_relative_to("/usr"):
            return str(path)
    return None


@cache
def command() -> tuple[str, ...]:
    """What runs in the jail; the interpreter compiles its part here, once for all jails."""
    path = interpreter()
    if path is None:
        return ("",)
    asked = [path, "-I", "-S", "-c", _COMPILE]
    compiled = subprocess.run(asked, input=_PROGRAM.encode(), capture_output=True, check=False).stdout  # noqa: S603
    program = f"exec(__import__('marshal').loads({compiled!r}))"
    return path, "-I", "-S", "-B", "-u", "-X", "utf8", "-c", program


def given(job: Job) -> bytes:
    """What the program reads: the job, then the code's standard input."""
    body = marshal.dumps((job.code, list(job.argv), job.environment), 2)
    return len(body).to_bytes(4, "big") + body + job.stdin
