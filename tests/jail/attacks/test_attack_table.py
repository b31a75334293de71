"""Every attack of the table is contained and leaves nothing, on each jail that the machine can make.

Rules
1. The next attack is the next job: a harmless one comes before them all and behind them all.
"""

from __future__ import annotations

import pytest

from tests.jail.attacks.attack import Attack
from tests.jail.attacks.payloads import ATTACKS
from tests.jail.attacks.scene import Scene

_AHEAD = (
    "fork bomb", "memory bomb", "memory bomb of many small processes",
    "output flood", "limits raised again", "daemon by double fork",
    "descriptors that were left open",
    "secrets in environments and arguments", "writes outside the workspace", "capabilities",
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_an_attack_manages_nothing_and_leaves_nothing(scene: Scene, attack: Attack) -> None:
    told = scene.strike(attack)
    for holds in attack.inside:
        holds(told)
    scene.unchanged()


@pytest.mark.parametrize("name", _AHEAD)
def test_an_attack_in_a_jail_made_ahead_manages_nothing_and_leaves_nothing(scene: Scene, name: str) -> None:
    (attack,) = (attack for attack in ATTACKS if attack.name == name)
    told = scene.strike(attack, ahead=True)
    for holds in attack.inside:
        holds(told)
    scene.unchanged()
