"""Reads a request of `/v1/recommend`, and makes the checks that need no model."""

import dataclasses
from collections.abc import Mapping, Sized
from typing import Any, TypeGuard

from tfrs_twotower import columns as c
from tfrs_twotower.channels.attributes import TEXT, fits
from tfrs_twotower.errors import brief, invalid, nearest
from tfrs_twotower.serving.errors import InvalidArgument, ResourceExhausted
from tfrs_twotower.serving.item_recorder import whole
from tfrs_twotower.serving.predictor import Limits


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
    fields: list = dataclasses.field(default_factory=list)
    version: int | None = None
    explain: bool = False


_MOST = 2**63
_LARGEST = 1e30  # a float32 can hold it; a comparison with it also refuses NaN
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
    _expect("user_id", asked.user_id is None or _is_id(asked.user_id), "be text or a whole number", asked.user_id)
    _expect(c.K, _is_whole(asked.k) and 1 <= asked.k <= limits.max_k,
            f"be a whole number from 1 to {limits.max_k}", asked.k)
    for name in ("features", "allow", "deny", "channels"):
        _expect(name, isinstance(getattr(asked, name), dict), "be an object", getattr(asked, name))
    _expect("exclude_seen", isinstance(asked.exclude_seen, bool | None), "be true or false", asked.exclude_seen)
    ids = asked.exclude_ids
    _expect(c.EXCLUDE_IDS, isinstance(ids, list) and all(map(_is_id, ids)), "be a list of item ids, none empty", ids)
    beta = asked.popularity_beta
    _expect(c.POPULARITY_BETA, beta is None or _is_number(beta), "be a number", beta)
    diversity = asked.diversity
    _expect("diversity", _is_number(diversity) and 0 <= diversity <= 1, "be from 0 to 1", diversity)
    _expect("version", asked.version is None or _is_whole(asked.version), "be the number of a version", asked.version)
    _expect("explain", isinstance(asked.explain, bool), "be true or false", asked.explain)
    named = asked.fields
    _expect("fields", isinstance(named, list) and all(isinstance(name, str) for name in named),
            "be a list of columns of the item table", named)
    _check_lists(asked, limits.max_width)
    return asked


def _check_lists(asked: RecommendRequest, most: int) -> None:
    lists: dict[str, Sized] = {c.EXCLUDE_IDS: asked.exclude_ids, "fields": asked.fields}
    for name, rules in (("features", asked.features), ("allow", asked.allow), ("deny", asked.deny)):
        lists[name] = rules  # the number of entries is limited too
        lists.update({f"{name}.{of}": rule for of, rule in rules.items() if isinstance(rule, list)})
    for name, values in lists.items():
        if len(values) > most:
            rule = f"have at most {most} values"
            raise ResourceExhausted(invalid(name[:80], rule, len(values), "Send fewer."))


def _expect(name: str, good: bool, rule: str, value: object) -> None:
    if not good:
        shown = brief(value, _QUOTED)
        raise InvalidArgument(f"`{name}` must {rule}. Received: {name}={shown}. Correct it, or leave it out.")


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return bool(value) and fits(value, TEXT)
    return _is_whole(value) and -_MOST <= value < _MOST


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST
