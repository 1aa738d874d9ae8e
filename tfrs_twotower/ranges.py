"""Ranges of settings, in the annotation of a field: `count: Annotated[int, AtLeast(1)] = 512`, or `Count` for short.

`@config` checks them when an object is made. A text beside them is the way out at the end of the error:
`rate: Annotated[Share, "0 turns it off."] = 0.1`.
"""

import dataclasses
import functools
import math
import numbers
import operator
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Literal

from tfrs_twotower.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Bound:
    """Base of the rules that compare a number with a bound."""

    bound: float
    words: ClassVar[str]
    holds: ClassVar[Callable[[Any, Any], bool]]

    def allows(self, value: Any) -> bool:
        """Whether the value is in the range."""
        return bool(type(self).holds(value, self.bound))

    def __str__(self) -> str:
        return f"{self.words} {self.bound}"


class AtLeast(Bound):
    """A number is `bound` or more."""

    words, holds = "at least", operator.ge


class Above(Bound):
    """A number is more than `bound`."""

    words, holds = "above", operator.gt


class AtMost(Bound):
    """A number is `bound` or less."""

    words, holds = "at most", operator.le


class Below(Bound):
    """A number is less than `bound`."""

    words, holds = "below", operator.lt


@dataclasses.dataclass(frozen=True)
class MinLength:
    """A tuple has `least` elements or more."""

    least: int

    def allows(self, value: Any) -> bool:
        """Whether the tuple is long enough."""
        return len(value) >= self.least

    def __str__(self) -> str:
        return f"{self.least} or more"


RULES = (Bound, MinLength)

Natural = Annotated[int, AtLeast(0)]
Count = Annotated[int, AtLeast(1)]
Positive = Annotated[float, Above(0)]
NotNegative = Annotated[float, AtLeast(0)]
Share = Annotated[float, AtLeast(0), AtMost(1)]
Counts = Annotated[tuple[Count, ...], MinLength(1)]
Weights = Annotated[tuple[NotNegative, ...], MinLength(1)]
HalfLives = Annotated[tuple[Positive | None, ...], MinLength(1), "In days. Write (None,) for none."]
DropoutRate = Annotated[float, AtLeast(0), Below(1), "0 turns it off."]


def fits(value: object, hint: Any) -> bool:
    """Whether a value fits an annotation. A list counts as a tuple."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        return fits(value, args[0]) and all(rule.allows(value) for rule in args[1:] if isinstance(rule, RULES))
    if origin is Literal:
        return value in args
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, arm) for arm in args)
    if hint is None or hint is type(None):
        return value is None
    if hint in (int, float):
        number: Any = value
        kind = numbers.Integral if hint is int else numbers.Real
        return not isinstance(value, bool) and isinstance(value, kind) and -math.inf < number < math.inf
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(fits(v, args[0]) for v in value)
        return len(value) == len(args) and all(map(fits, value, args))
    if origin is not None:
        return isinstance(value, origin)
    return isinstance(value, hint) if isinstance(hint, type) else True


@functools.cache
def ruled(cls: type) -> tuple[tuple[str, Any], ...]:
    """(field, annotation) of the annotations that hold a rule or a choice.

    The rules of a base class also hold if a subclass annotates the field anew.

    Raises:
      ConfigError: an annotation is a text whose names are not known where the class is defined.
    """
    try:
        hints = [typing.get_type_hints(base, include_extras=True) for base in cls.__mro__]
    except NameError as error:
        raise ConfigError(
            f"The annotations of `{cls.__name__}` cannot be read ({error}). Import their names at the top of its "
            "module, not for type checks alone."
        ) from error
    found = [pair for names in hints for pair in names.items() if choices(pair[1]) or any(_rules(pair[1]))]
    return tuple(pair for place, pair in enumerate(found) if pair not in found[:place])


def choices(hint: Any) -> list[Any]:
    """The values that `Literal` allows anywhere in an annotation."""
    args = typing.get_args(hint)
    return list(args) if typing.get_origin(hint) is Literal else [value for arg in args for value in choices(arg)]


def way_out(hint: Any) -> str:
    """The text in an annotation, the outer one of two; "" where there is none."""
    beside = getattr(hint, "__metadata__", ())
    texts = [text for text in beside[::-1] if isinstance(text, str)]
    return texts[0] if texts else next(filter(None, map(way_out, _inner(hint))), "")


def _rules(hint: Any) -> Iterator[Any]:
    yield from (rule for rule in getattr(hint, "__metadata__", ()) if isinstance(rule, RULES))
    for inner in _inner(hint):
        yield from _rules(inner)


def _inner(hint: Any) -> tuple[Any, ...]:
    return () if typing.get_origin(hint) is Literal else typing.get_args(hint)
