"""One seed for a whole model, and a seed of its own for each part."""

import zlib


def derive_seed(seed: int, name: str) -> int:
    """A seed in [0, 2³¹) that depends on `seed` and on the part's name, not on the order of building."""
    return zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF
