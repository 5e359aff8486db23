"""Assignment: which pod has which partitions, as Kafka's sticky assignor deals them out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def assigned(owners: Mapping[int, Sequence[int]], members: Sequence[int], partitions: int) -> dict[int, list[int]]:
    """Partitions by member: evenly, and with as few as can be moved from those that had them before.

    ``owners`` says what each member had; members that are new, or gone, may be missing in it.
    """
    least, more = divmod(partitions, len(members))
    keeps: dict[int, list[int]] = {}
    # Those that had most keep one more, as long as there are some to keep.
    for member in sorted(members, key=lambda member: -len(owners.get(member, ()))):
        had = owners.get(member, ())
        room = least + (more > 0 and len(had) > least)
        more -= room > least
        keeps[member] = list(had[:room])
    kept = {partition for had in keeps.values() for partition in had}
    homeless = [partition for partition in range(partitions) if partition not in kept]
    for member in members:
        while homeless and len(keeps[member]) < least:
            keeps[member].append(homeless.pop())
    for member in sorted(members, key=lambda member: len(keeps[member])):
        if homeless:
            keeps[member].append(homeless.pop())
    return keeps
