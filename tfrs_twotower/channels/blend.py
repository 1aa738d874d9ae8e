"""One answer out of the proposals of several channels."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence


def blend(
    places: Mapping[str, int],
    reserves: Iterable[str],
    propose: Callable[[str, int, Collection[str | int]], list[tuple[str | int, float]]],
) -> list[tuple[str, str | int, float]]:
    """Fills the places of an answer: first each channel its own, in their order, then what is left over.

    An item that several channels propose stays with the one that comes first. A place that its channel cannot fill
    goes to the first of `reserves` that can.

    Args:
      places: {channel: places}.
      reserves: names of channels.
      propose: {channel, n, items that are taken} → at most n (item, score) that are not taken, best first.

    Returns:
      [(channel, item, score)], mixed as `interleave` does.
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

    The item j of n of a channel, from 0, stands at (j + ½) / n of the way; where two stand at the same place, the
    one whose channel comes first.
    """
    places = [
        ((j + 0.5) / len(found), order, (name, *pair))
        for order, (name, found) in enumerate(picked.items())
        for j, pair in enumerate(found)
    ]
    return [answer for _, _, answer in sorted(places, key=lambda place: place[:2])]
