"""Ranges in annotations: what an object refuses when it is made, in Python, from JSON and by `--set`."""

import dataclasses
import math
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from tfrs_twotower.configuration import config, from_dict, override
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.ranges import AtLeast, Below, Count, Counts, HalfLives, Natural, Positive, Share


class Base:
    size: Count


@config
class Part(Base):
    size: int = 3
    skipped: Natural = 0
    rate: Annotated[Share, "0 turns it off."] = 0.5
    widths: Counts = (64,)
    days: HalfLives = (None,)
    limit: Annotated[Positive | None, "None sets no limit."] = None
    kind: Literal["mean", "decay"] = "mean"
    pair: tuple[str, Annotated[int, AtLeast(0), Below(10)]] = ("a", 0)
    free: int = 0
    anything: Any = None


@config
class Inherited(Part):
    more: Count = 1

    def __post_init__(self) -> None:
        if self.more > self.size:
            raise ConfigError("more than size")


@config
class Whole:
    part: Part = Part()


A_SHARE = "a finite number of at least 0 and at most 1"


@pytest.mark.parametrize("cls", [Part, Inherited])
@pytest.mark.parametrize(("field", "value", "rule", "way_out"), [
    ("size", 0, "a whole number of at least 1", "The default is 3."),  # the rule of the base class
    ("size", 2.0, "a whole number of at least 1", "The default is 3."),
    ("size", True, "a whole number of at least 1", "The default is 3."),
    ("skipped", -1, "a whole number of at least 0", "The default is 0."),
    ("rate", 1.5, A_SHARE, "0 turns it off."),
    ("rate", math.nan, A_SHARE, "0 turns it off."),
    ("rate", "0.5", A_SHARE, "0 turns it off."),
    ("widths", (), "a list of 1 or more, each a whole number of at least 1", "The default is (64,)."),
    ("widths", (64, 0), "a list of 1 or more, each a whole number of at least 1", "The default is (64,)."),
    ("widths", 64, "a list of 1 or more, each a whole number of at least 1", "The default is (64,)."),
    ("days", (None, 0.0), "a list of 1 or more, each a finite number above 0 or null",
     "In days. Write (None,) for none."),
    ("limit", math.inf, "a finite number above 0 or null", "None sets no limit."),
    ("kind", "men", "'mean' or 'decay'", "Did you mean `mean`?"),
    ("kind", None, "'mean' or 'decay'", "The default is 'mean'."),
    ("pair", ("a", 10), "a list of str or a whole number of at least 0 and below 10", "The default is ('a', 0)."),
])
def test_a_value_out_of_its_range_is_refused(cls, field, value, rule, way_out):
    where = f"{cls.__name__}.{field}"
    with pytest.raises(ConfigError) as error:
        cls(**{field: value})
    assert str(error.value) == f"`{where}` must be {rule}. Received: {where}={value!r}. {way_out}"


def test_values_in_their_ranges():
    Part(1, 0, 0, (1,), (None, 0.5), 1, "decay", ("b", 9), free=-1)
    Part(np.int64(7), rate=np.float32(0.25), limit=np.float64(2), widths=[64, 32])
    Part(free="not a number")  # no rule, no check


def test_what_compares_fields_comes_after_the_ranges():
    with pytest.raises(ConfigError, match="`Inherited.size` must be"):
        Inherited(size=0)
    with pytest.raises(ConfigError, match="more than size"):
        Inherited(more=4)
    with pytest.raises(ConfigError, match="`Inherited.more` must be a whole number of at least 1"):
        dataclasses.replace(Inherited(), more=0)


def test_a_value_of_json_and_of_an_assignment_is_refused():
    name = f"{__name__}.Part"
    assert from_dict({"type": name, "rate": 1}) == Part(rate=1)
    with pytest.raises(ConfigError, match=f"`Part.rate` must be {A_SHARE}"):
        from_dict({"type": name, "rate": 2})
    with pytest.raises(ConfigError, match="Part.rate` must be a finite number. Received"):
        from_dict({"type": name, "rate": "much"})
    assert override(Whole(), ["part.widths=[5, 6]", "part.limit=3"]).part == Part(widths=(5, 6), limit=3.0)
    with pytest.raises(ConfigError, match=f"`Part.rate` must be {A_SHARE}"):
        override(Whole(), ["part.rate=2"])


def test_an_annotation_that_cannot_be_read():
    @config
    class Unknown:
        part: "Nowhere" = 0  # noqa: F821

    with pytest.raises(ConfigError, match="annotations of `Unknown` cannot be read.*Nowhere.*at the top"):
        Unknown()
