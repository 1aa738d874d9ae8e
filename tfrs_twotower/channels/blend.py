"""One answer made of the proposals of several channels."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence


def blend(
    places: Mapping[str, int],
    reserves: Iterable[str],
    propose: Callable[[str, int, Collection[str | int]], list[tuple[str | int, float]]],
) -> list[tuple[str, str | int, float]]:
    """Fills an answer: first the share of each channel, in their order, then the rest.

    An item that several channels propose stays with the first one. If a channel cannot fill its share, the first of
    `reserves` that can fills it.

    Args:
      places: {channel: number of items}.
      reserves: names of channels.
      propose: (channel, n, items already in the answer) → at most n further (item, score), best first.

    Returns:
      [(channel, item, score)], in the order of `interleave`.
    """
    picked, taken = {name: [] for name in places}, {}

    def take(name: str, n: int) -> None:
        found = propose(name, n, taken) if n > 0 else []
        picked.setdefault(name, []).extend(found)
        taken.update(found)

    for name, n in places.items():
        take(name, n)
    for name in reserves:
        take(name, sum(places.values()) - len(taken))
    return interleave(picked)


def interleave(picked: Mapping[str, Sequence[tuple[str | int, float]]]) -> list[tuple[str, str | int, float]]:
    """[(channel, item, score)] of {channel: [(item, score)]}, each channel spread evenly over the whole.

    Item j of n of a channel, counted from 0, has the relative position (j + ½) / n. Of equal positions, the one of the
    first channel comes first.
    """
    places = [
        ((j + 0.5) / len(found), order, (name, *pair))
        for order, (name, found) in enumerate(picked.items())
        for j, pair in enumerate(found)
    ]
    return [answer for _, _, answer in sorted(places, key=lambda place: place[:2])]
