"""How partitions are dealt out: all of them, evenly, and with as few moved as can be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.operations.planning.assignment import assigned

fleets = st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=20), min_size=2, max_size=6)


@given(fleets, st.integers(1, 100))
def test_all_evenly_and_few_moved(fleets: list[set[int]], partitions: int) -> None:
    owners: dict[int, list[int]] = {}
    for members in fleets:
        dealt = assigned(owners, sorted(members), partitions)
        assert sorted(partition for had in dealt.values() for partition in had) == list(range(partitions))
        sizes = [len(dealt[member]) for member in members]
        assert max(sizes) - min(sizes) <= 1
        assert _moved(owners, dealt) == _fewest(owners, members, partitions)
        owners = dealt


def _moved(before: dict[int, list[int]], after: dict[int, list[int]]) -> int:
    return sum(len(set(had) - set(after.get(member, ()))) for member, had in before.items())


def _fewest(before: dict[int, list[int]], members: set[int], partitions: int) -> int:
    """Those of members that went, and what the others have above their even part."""
    least, more = divmod(partitions, len(members))
    kept = 0
    for had in sorted((len(before[member]) for member in members if member in before), reverse=True):
        room = least + (more > 0 and had > least)
        more -= room > least
        kept += min(had, room)
    return sum(map(len, before.values())) - kept


def test_a_fleet_that_doubles_moves_half() -> None:
    before = assigned({}, [0, 1], 12)
    after = assigned(before, [0, 1, 2, 3], 12)
    assert _moved(before, after) == 6
    assert all(set(after[member]) <= set(before[member]) for member in (0, 1))
