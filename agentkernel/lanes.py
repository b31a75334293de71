"""Those who wait to be admitted to a lane; pure.

Rules
1. Owners take turns, each with the one of its own that came first: nobody waits longer for what others ask.
"""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import Generic, TypeVar

T = TypeVar("T")


class Waitlist(Generic[T]):
    """The waiting of one lane, by owner; each is there once."""

    def __init__(self) -> None:
        self._owners: dict[int, dict[T, None]] = {}  # whose turn is next comes first

    def __len__(self) -> int:
        return sum(map(len, self._owners.values()))

    def __repr__(self) -> str:
        return f"<Waitlist owners={len(self._owners)} waiting={len(self)}>"

    def add(self, owner: int, item: T) -> None:
        """One more of the owner's waits."""
        self._owners.setdefault(owner, {})[item] = None

    def remove(self, owner: int, item: T) -> None:
        """It waits no more, if it did."""
        items = self._owners.get(owner, {})
        items.pop(item, None)
        if not items:
            self._owners.pop(owner, None)

    def take(self) -> T:
        """Whose turn it is; it waits no more. Raises StopIteration when nobody waits."""
        owner, items = next(iter(self._owners.items()))
        item = next(iter(items))
        del self._owners[owner], items[item]
        if items:
            self._owners[owner] = items
        return item

    def order(self) -> list[T]:
        """All, in the order in which they will be taken if nobody comes."""
        rounds = chain.from_iterable(zip_longest(*self._owners.values(), fillvalue=None))
        return [item for item in rounds if item is not None]
