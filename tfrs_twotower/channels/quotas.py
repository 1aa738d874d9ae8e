"""The number of items of an answer that each channel gets."""

from collections.abc import Collection, Sequence
from typing import Protocol

from tfrs_twotower.errors import DataError, invalid, nearest


def places(quotas: object, k: int, known: Collection[str], rest: str) -> dict[str, int]:
    """{channel: number of items} of a request, in its order; they add up to k.

    Args:
      quotas: {channel: number ≥ 0} of the request.
      k: items of the answer.
      known: names of channels.
      rest: the channel that gets the rest.

    Raises:
      DataError: an unknown name, a value that is no number, or more than k in all.
    """
    if not isinstance(quotas, dict):
        raise DataError(invalid("channels", "be an object of numbers by channel", quotas, 'As {"u2i": 8, "i2i": 2}.'))
    for name, number in quotas.items():
        if name not in known:
            raise DataError(f"There is no channel `{str(name)[:40]}`." + nearest(name, known))
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise DataError(invalid(f"channels.{name}", "be a whole number of items", number, "Send 0 or more."))
    free = k - sum(quotas.values())
    if free < 0:
        raise DataError(invalid("channels", f"reserve at most k={k} items", k - free, "Raise k or reserve fewer."))
    return {**quotas, rest: quotas.get(rest, 0) + free} if free else dict(quotas)


class Shares(Protocol):
    """Gives places of an answer to channels by how much is known of the user. Threads share one.

    names: of the channels that it may name.
    """

    names: tuple[str, ...]

    def places(self, user_id: str, events: int, k: int, rest: str) -> dict[str, int]:
        """{channel: number of items}, which add up to k, for a user of so many events; `rest` gets what is left over.
        """

    def shown(self, user_id: str, channel: str, items: Sequence[str | int]) -> None:
        """Notes the items that a channel with places has in an answer; it may have found none."""
