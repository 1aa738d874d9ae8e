"""What the fuzz tests are made of: JSON of any kind, and files with damage."""

import hypothesis
from hypothesis import strategies as st

from tfrs_twotower.errors import TwoTowerError

TEXT = st.text(st.characters(), max_size=8) | st.sampled_from(["", "a", "\0", "\ud800", "é" * 300, "../..", "x" * 3000])
NUMBERS = (
    st.integers(-3, 3) | st.sampled_from([2**31, -(2**31) - 1, 2**63, -(2**63), 2**64, 10**400])
    | st.floats() | st.sampled_from([1e308, -0.0, 1e-320])
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXT


def values(names=()):
    """Any JSON value; keys of its objects are often among `names`."""
    keys = TEXT | st.sampled_from(list(names)) if names else TEXT
    return st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
    )


@st.composite
def damaged(draw, data):
    """The bytes with some of them changed, cut out, put in, or cut off."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["change", "remove", "insert", "cut"]))
        if kind == "change" and data:
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "remove":
            del data[at:at + draw(st.integers(1, 20))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=20))
        elif draw(st.booleans()):
            del data[at:]
    return bytes(data)


@st.composite
def mutated(draw, value):
    """A JSON value in which one place holds another value."""
    if isinstance(value, (dict, list)) and value and draw(st.integers(0, 5)):
        places = sorted(value) if isinstance(value, dict) else range(len(value))
        place = draw(st.sampled_from(list(places)))
        if not draw(st.integers(0, 9)):
            kept = [p for p in places if p != place]
            return {p: value[p] for p in kept} if isinstance(value, dict) else [value[p] for p in kept]
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[place] = draw(mutated(value[place]))
        return copy
    return draw(values())


def few(count):
    """Settings of a fuzz test: so many examples, none of them timed."""
    return hypothesis.settings(
        max_examples=count, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def reads_or_refuses(read):
    """Calls `read`: it gives something, or an error of this package that says why."""
    try:
        return read()
    except TwoTowerError as error:
        assert len(str(error)) > 10
        return None
