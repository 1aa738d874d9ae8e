"""Ids that are whole numbers to a model, and text to stores and clients."""

import re

_WHOLE = re.compile(r"\s*-?[0-9]+\s*")
_BEYOND = 2**63


def as_number(value: object) -> int:
    """7 for "007" and 7. Raises `ValueError` for what is no whole number of 64 bits.

    `int` alone reads "1_0" as 10, which is somebody else's id.
    """
    text = str(value)
    number = int(text) if _WHOLE.fullmatch(text) else _BEYOND
    if not -_BEYOND <= number < _BEYOND:
        raise ValueError(f"{text[:40]!r} is no whole number of 64 bits")
    return number
