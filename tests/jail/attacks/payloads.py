"""The table of all attacks."""

from __future__ import annotations

from tests.jail.attacks.exhaustion import EXHAUSTION
from tests.jail.attacks.kernel_calls import KERNEL_CALLS
from tests.jail.attacks.lingering import LINGERING, REACHING
from tests.jail.attacks.snooping import SNOOPING

ATTACKS = (*EXHAUSTION, *LINGERING, *REACHING, *SNOOPING, *KERNEL_CALLS)
