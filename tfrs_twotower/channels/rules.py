"""The items that a request allows and denies, by their attributes."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfrs_twotower.channels.attributes import NUMBER, Attributes, fits
from tfrs_twotower.errors import DataError, invalid, nearest

_LEAST, _MOST = "min", "max"


class Rule(NamedTuple):
    """Satisfied by an item with one of `values`; without `values`, by one with a number from `least` to `most`."""

    attribute: str
    values: tuple[str | float, ...] = ()
    least: float = -math.inf
    most: float = math.inf


def read_rules(argument: str, given: object, kinds: Mapping[str, str]) -> list[Rule]:
    """The `Rule`s of a request.

    Args:
      argument: for messages.
      given: {attribute: a value, a list of values, or {"min": number, "max": number} with one or both}.
      kinds: {attribute: kind}, of `Attributes`.

    Raises:
      DataError: an unknown attribute, a value of another kind than the attribute's, or no value.
    """
    if not isinstance(given, dict):
        raise DataError(invalid(argument, "be an object of rules by attribute", given, 'As {"category": ["a", "b"]}.'))
    for name in given:
        if name not in kinds:
            known = nearest(name, kinds) or " This version has no attributes: export it again."
            raise DataError(f"`{argument}`: items have no attribute `{str(name)[:40]}`.{known}")
    return [_rule(f"{argument}.{name}", name, rule, kinds[name]) for name, rule in given.items()]


def satisfied(attributes: Attributes, allow: Iterable[Rule], deny: Iterable[Rule]) -> np.ndarray:
    """bool [n]: does an item of `Attributes` satisfy all rules of `allow` and none of `deny`?

    An item without the attribute satisfies no rule.
    """
    good = np.ones(len(attributes), bool)
    for rule in allow:
        good &= _mask(attributes, rule)
    for rule in deny:
        good &= ~_mask(attributes, rule)
    return good


def _mask(attributes: Attributes, rule: Rule) -> np.ndarray:
    if rule.values:
        return attributes.any_of(rule.attribute, rule.values)
    return attributes.between(rule.attribute, rule.least, rule.most)


def _rule(argument: str, name: str, rule: Any, kind: str) -> Rule:
    if isinstance(rule, dict):
        return _band(argument, name, rule, kind)
    values = rule if isinstance(rule, list) else [rule]
    if not values:
        raise DataError(invalid(argument, "hold a value", rule, "Leave the attribute out if any value will do."))
    for value in values:
        if not fits(value, kind):
            raise DataError(invalid(argument, f"be a {kind}, or a list of them", value, "Send values of the items."))
    return Rule(name, tuple(values))


def _band(argument: str, name: str, rule: dict[str, Any], kind: str) -> Rule:
    if kind != NUMBER:
        raise DataError(invalid(argument, f"be a {kind}, or a list of them", rule, "Only numbers have a range."))
    unknown = [key for key in rule if key not in (_LEAST, _MOST)]
    if unknown or not rule or not all(fits(value, NUMBER) for value in rule.values()):
        way_out = "Send a number as `min`, as `max`, or as both."
        raise DataError(invalid(argument, "be a range of numbers", rule, way_out))
    least, most = rule.get(_LEAST, -math.inf), rule.get(_MOST, math.inf)
    if least > most:
        raise DataError(invalid(argument, "have a `min` that is at most `max`", rule, "Exchange them."))
    return Rule(name, (), least, most)
