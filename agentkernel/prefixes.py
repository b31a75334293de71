"""Which known context shares the longest prefix with a new one: a radix tree over tokens; pure.

Rules
1. Tokens are compared, never hashes.
2. A context is known by a key; several may be known under one, and the latest replaces the former.
3. `longest` costs what the match is long, not what is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Node:
    """An edge and what hangs on it: `label` are the tokens that lead here from the parent."""

    label: tuple[int, ...] = ()
    children: dict[int, _Node] = field(default_factory=dict)
    keys: set[int] = field(default_factory=set)  # whose context passes through or ends here


class PrefixIndex:
    """The contexts of one trust group."""

    def __init__(self) -> None:
        self._root = _Node()
        self._contexts: dict[int, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self._contexts)

    def __contains__(self, key: int) -> bool:
        return key in self._contexts

    def add(self, key: int, tokens: Sequence[int]) -> None:
        """Know a context."""
        self.remove(key)
        context = self._contexts[key] = tuple(tokens)
        node, at = self._root, 0
        while at < len(context):
            child = node.children.get(context[at])
            if child is None:
                child = node.children[context[at]] = _Node(context[at:])
            common = common_prefix(child.label, context[at:])
            if common < len(child.label):
                child = self._split(node, child, common)
            child.keys.add(key)
            node, at = child, at + common

    def remove(self, key: int) -> None:
        """Forget a context; nothing happens when it is not known."""
        context = self._contexts.pop(key, ())
        node, at = self._root, 0
        while at < len(context):
            child = node.children[context[at]]
            child.keys.discard(key)
            if not child.keys:
                del node.children[context[at]]
                return
            node, at = child, at + len(child.label)

    def longest(self, tokens: Sequence[int]) -> tuple[int, frozenset[int]]:
        """How many tokens the best match shares, and the keys that share so many."""
        wanted = tuple(tokens)
        node, at, keys = self._root, 0, frozenset[int]()
        while at < len(wanted):
            child = node.children.get(wanted[at])
            if child is None:
                break
            common = common_prefix(child.label, wanted[at:])
            at, keys = at + common, frozenset(child.keys)
            if common < len(child.label):
                break
            node = child
        return at, keys

    @staticmethod
    def _split(parent: _Node, child: _Node, at: int) -> _Node:
        """Cut an edge in two; the upper half is returned."""
        upper = _Node(child.label[:at], {child.label[at]: child}, set(child.keys))
        parent.children[child.label[0]] = upper
        child.label = child.label[at:]
        return upper


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences have in common at their start."""
    size = min(len(a), len(b))
    if a[:size] == b[:size]:
        return size
    return next(i for i in range(size) if a[i] != b[i])
