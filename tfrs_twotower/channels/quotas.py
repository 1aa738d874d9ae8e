"""How many places of an answer each channel has."""

from collections.abc import Collection

from tfrs_twotower.errors import DataError, invalid, nearest


def places(quotas: object, k: int, known: Collection[str], rest: str) -> dict[str, int]:
    """{channel: places} of a request, in its order; they add up to k.

    Args:
      quotas: {channel: places ≥ 0} as a request has it.
      k: places in all.
      known: names of channels.
      rest: the channel that gets the places that nobody reserved.

    Raises:
      DataError: an unknown name, a number that is none, or more places than k.
    """
    if not isinstance(quotas, dict):
        raise DataError(invalid("channels", "be an object of places by channel", quotas, 'As {"u2i": 8, "i2i": 2}.'))
    for name, number in quotas.items():
        if name not in known:
            raise DataError(f"There is no channel `{str(name)[:40]}`." + nearest(name, known))
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise DataError(invalid(f"channels.{name}", "be a whole number of places", number, "Send 0 or more."))
    free = k - sum(quotas.values())
    if free < 0:
        raise DataError(invalid("channels", f"reserve at most k={k} places", k - free, "Raise k or reserve fewer."))
    return {**quotas, rest: quotas.get(rest, 0) + free} if free else dict(quotas)
