"""The jail for trusted programs, where nothing stronger is: it holds what its layers say.

Rules
1. The next attack is the next job: none is run between them.
"""

from __future__ import annotations

import pytest

from tests.jail.attacks.attack import Attack
from tests.jail.attacks.exhaustion import DISK, PROCESSES
from tests.jail.attacks.kernel_calls import KERNEL_CALLS
from tests.jail.attacks.lingering import LINGERING, REACHING
from tests.jail.attacks.scene import Scene
from tests.jail.attacks.snooping import SNOOPING

# What is left out, the spawner holds alike in every jail.
_ATTACKS = (*PROCESSES, *DISK, *LINGERING, *REACHING, *SNOOPING, *KERNEL_CALLS)


@pytest.mark.parametrize("attack", _ATTACKS, ids=[attack.name for attack in _ATTACKS])
def test_an_attack_on_a_weaker_jail_manages_nothing_and_leaves_nothing(
    weaker_scene: Scene, attack: Attack
) -> None:
    told = weaker_scene.strike(attack)
    for holds in attack.inside:
        holds(told)
    weaker_scene.unchanged()
