"""No jail: what a kernel has that was given none. Nothing can be called."""

from __future__ import annotations

from agentkernel.errors import KernelError
from agentkernel.jail.port import Job, Outcome, Verdict


class NoJail:
    """`port.Jail` without one."""

    verdict: Verdict | None = Verdict("none", (), (), 0, 0.0, ("the kernel was started without a jail",))

    async def start(self) -> Verdict:
        """See `port.Jail`."""
        return self.verdict or Verdict("none", (), (), 0, 0.0)

    async def run(self, job: Job) -> Outcome:
        """See `port.Jail`."""
        raise KernelError("ESANDBOX", f"there is no jail for job {job.key}")

    def kill(self, key: str) -> None:
        """See `port.Jail`."""

    def warm(self, owner: int, job: Job) -> None:
        """See `port.Jail`."""

    def forget(self, owner: int) -> None:
        """See `port.Jail`."""

    async def stop(self) -> None:
        """See `port.Jail`."""
