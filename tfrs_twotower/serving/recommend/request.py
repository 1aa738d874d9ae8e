"""Reads a request of `/v1/recommend`, and makes the checks that need no model."""

import dataclasses
from collections.abc import Iterable, Mapping, Sized
from typing import Any, TypeGuard

from tfrs_twotower import columns as c
from tfrs_twotower.channels.attributes import TEXT, fits
from tfrs_twotower.errors import brief, invalid, nearest
from tfrs_twotower.ids import as_number
from tfrs_twotower.serving.errors import InvalidArgument, ResourceExhausted
from tfrs_twotower.serving.item_recorder import whole
from tfrs_twotower.serving.limits import Limits


@dataclasses.dataclass(frozen=True)
class RecommendRequest:
    """The fields of a request. Their names are those of its JSON.

    Attributes:
      user_id: text or a whole number; None: an unknown user.
      k: the number of items in the answer, which has fewer if the rules admit fewer.
      features: {raw query feature: value}. A feature that is left out comes from the store.
      exclude_seen: True leaves out the items of the user's history in the store and in the request. None: as in the
        model's evaluation.
      exclude_ids: item ids to leave out.
      allow: {attribute: rule}. An item must satisfy every rule; see `channels.read_rules`.
      deny: {attribute: rule}. An item must not satisfy any rule.
      popularity_beta: β of the towers' score, as in `serving_default`; None: the default there.
      channels: {channel: places}. u2i gets the places that are left over.
      diversity: from 0 to 1; see `channels.mmr`.
      objectives: {objective: weight}, of the version's `EventHeads`; 0 for those that are left out.
      likes, dislikes: item ids, a stranger's answers to the questions of `/v1/elicit`. u2i then proposes by them alone,
        and no answer has these items.
      fields: columns of the item table that each item of the answer carries.
      version: the version to ask; None: the newest.
      explain: whether the first 20 items carry an explanation; see `explaining`.
    """

    user_id: str | int | None = None
    k: int = 10
    features: dict = dataclasses.field(default_factory=dict)
    exclude_seen: bool | None = None
    exclude_ids: list = dataclasses.field(default_factory=list)
    allow: dict = dataclasses.field(default_factory=dict)
    deny: dict = dataclasses.field(default_factory=dict)
    popularity_beta: float | None = None
    channels: dict = dataclasses.field(default_factory=dict)
    diversity: float = 0.0
    objectives: dict = dataclasses.field(default_factory=dict)
    likes: list = dataclasses.field(default_factory=list)
    dislikes: list = dataclasses.field(default_factory=list)
    fields: list = dataclasses.field(default_factory=list)
    version: int | None = None
    explain: bool = False


_MOST = 2**63
_LARGEST = 1e30  # a float32 can hold it; a comparison with it also refuses NaN
_MOST_ANSWERS = 1000
_QUOTED = 80  # characters of a value in an error
_NAMES = [field.name for field in dataclasses.fields(RecommendRequest)]


def read_request(request: Mapping[str, Any], limits: Limits) -> RecommendRequest:
    """The `RecommendRequest` of a parsed request.

    Raises:
      InvalidArgument: an unknown name, or a value of the wrong type or out of range.
      ResourceExhausted: a list is longer than `limits` allow.
    """
    for name in request:
        if name not in _NAMES:
            raise InvalidArgument(f"The request has no `{str(name)[:40]}`." + nearest(name, _NAMES))
    given = {name: whole(value) for name, value in request.items()}
    asked = RecommendRequest(**given)
    _expect("user_id", asked.user_id is None or _is_id(asked.user_id), "be text or a whole number of 64 bits",
            asked.user_id, "Send one id.")
    expect_whole(c.K, asked.k, limits.max_k)
    for name in ("features", "allow", "deny", "channels", "objectives"):
        expect_object(name, getattr(asked, name))
    _expect("exclude_seen", isinstance(asked.exclude_seen, bool | None), "be true or false", asked.exclude_seen)
    lists = {name: getattr(asked, name) for name in (c.EXCLUDE_IDS, "likes", "dislikes")}
    for name, ids in lists.items():
        expect_id_list(name, ids)
    beta = asked.popularity_beta
    _expect(c.POPULARITY_BETA, beta is None or _is_number(beta), "be a number", beta)
    for name, weight in asked.objectives.items():
        _expect(f"{c.OBJECTIVES}.{str(name)[:40]}", _is_number(weight), "be a number", weight)
    diversity = asked.diversity
    _expect("diversity", _is_number(diversity) and 0 <= diversity <= 1, "be from 0 to 1", diversity)
    _expect("version", asked.version is None or _is_whole(asked.version), "be the number of a version", asked.version)
    _expect("explain", isinstance(asked.explain, bool), "be true or false", asked.explain)
    if asked.explain and (asked.likes or asked.dislikes):
        message = invalid("explain", "come without `likes` and `dislikes`, which no feature of the model carries", True,
                          "Leave it out.")
        raise InvalidArgument(message)
    named = asked.fields
    _expect("fields", isinstance(named, list) and all(isinstance(name, str) for name in named),
            "be a list of columns of the item table", named)
    check_answers({name: lists[name] for name in ("likes", "dislikes")}, limits.max_width)
    rules = {name: getattr(asked, name) for name in ("features", "allow", "deny")}
    check_lists({**lists, "fields": named}, rules, limits.max_width)
    return asked


def check_answers(answers: Mapping[str, list], most: int) -> None:
    """Raises `ResourceExhausted` for more answers of a stranger than a request may have: each costs a score a person.
    """
    check_lists(answers, {}, min(most, _MOST_ANSWERS))


def check_lists(lists: Mapping[str, list], rules: Mapping[str, dict], most: int) -> None:
    """Raises `ResourceExhausted` for a list of more than `most` values, also as a value of an object of `rules`."""
    sized: dict[str, Sized] = {**lists, **rules}  # the number of entries is limited too
    for name, of_name in rules.items():
        sized.update({f"{name}.{of}": rule for of, rule in of_name.items() if isinstance(rule, list)})
    for name, values in sized.items():
        if len(values) > most:
            rule = f"have at most {most} values"
            raise ResourceExhausted(invalid(name[:80], rule, len(values), "Send fewer."))


def expect_object(name: str, value: object) -> None:
    """Raises `InvalidArgument` if an argument is no object."""
    _expect(name, isinstance(value, dict), "be an object", value)


def expect_id_list(name: str, ids: object) -> None:
    """Raises `InvalidArgument` if an argument is no list of item ids."""
    rule = "be a list of item ids, none empty, numbers of 64 bits"
    _expect(name, isinstance(ids, list) and all(map(_is_id, ids)), rule, ids)


def expect_whole(name: str, value: object, most: int) -> None:
    """Raises `InvalidArgument` if an argument is no whole number from 1 to `most`."""
    _expect(name, _is_whole(value) and 1 <= value <= most, f"be a whole number from 1 to {most}", value)


def as_ids(values: Iterable[Any], id_type: type[str] | type[int], argument: str | None = None) -> list[str | int]:
    """Values as ids, text or numbers. A value that is no id is left out; if `argument` names it, it is an error."""
    ids = []
    for value in values:
        try:
            ids.append(str(value) if id_type is str else as_number(value))
        except ValueError as error:
            if argument:
                rule = "be a whole number of 64 bits, as in the model"
                message = invalid(argument, rule, value, "Send an id of the log.")
                raise InvalidArgument(message) from error
    return ids


def _expect(
    name: str, good: bool, rule: str, value: object, way_out: str = "Correct it, or leave it out."
) -> None:
    if not good:
        shown = brief(value, _QUOTED)
        raise InvalidArgument(f"`{name}` must {rule}. Received: {name}={shown}. {way_out}")


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return bool(value) and fits(value, TEXT)
    return _is_whole(value) and -_MOST <= value < _MOST


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST
