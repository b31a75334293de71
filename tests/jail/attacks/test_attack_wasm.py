"""Every attack of the table as code of an interpreter without system calls: it ends, and reaches nothing.

Rules
1. What an attack manages inside is its own; what is looked at is the host, and the next job.
"""

from __future__ import annotations

import pytest

from tests.jail.attacks.attack import Attack
from tests.jail.attacks.payloads import ATTACKS
from tests.jail.attacks.scene import Scene


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_an_attack_reaches_nothing_of_the_host(wasm_scene: Scene, attack: Attack) -> None:
    wasm_scene.strike(attack, ahead=True)
    wasm_scene.unchanged()
    wasm_scene.serves()
