"""The radix tree over tokens, against a search through everything."""

from hypothesis import given
from hypothesis import strategies as st

from agentkernel.prefixes import PrefixIndex, common_prefix

TOKENS = st.lists(st.integers(0, 2), max_size=8)
CHANGES = st.lists(st.tuples(st.integers(0, 6), st.none() | TOKENS), max_size=30)


@given(CHANGES, TOKENS)
def test_the_longest_match_is_the_one_a_full_search_finds(changes, wanted):
    index, known = PrefixIndex(), {}
    for key, tokens in changes:
        if tokens is None:
            index.remove(key)
            known.pop(key, None)
        else:
            index.add(key, tokens)
            known[key] = tokens
    shared = {key: common_prefix(tokens, wanted) for key, tokens in known.items()}
    length, keys = index.longest(wanted)
    assert length == max(shared.values(), default=0)
    assert not length or keys == {key for key, n in shared.items() if n == length}
    assert len(index) == len(known)


@given(CHANGES)
def test_when_everything_is_forgotten_nothing_is_left(changes):
    index = PrefixIndex()
    for key, tokens in changes:
        index.add(key, tokens or [])
    for key, _ in changes:
        index.remove(key)
    assert len(index) == 0
    assert index._root.children == {}
