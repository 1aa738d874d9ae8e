"""Answers `/v1/elicit`: the items to ask a stranger about, by what they said so far."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrs_twotower import columns as c
from tfrs_twotower.channels import Elicitation
from tfrs_twotower.errors import nearest
from tfrs_twotower.serving import json_tensors
from tfrs_twotower.serving.current_items import ItemChanges, current_items
from tfrs_twotower.serving.errors import InvalidArgument, Unimplemented
from tfrs_twotower.serving.item_recorder import whole
from tfrs_twotower.serving.limits import Limits
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.predictor import Predictor
from tfrs_twotower.serving.recommend.request import (
    as_ids,
    check_answers,
    check_lists,
    expect_id_list,
    expect_object,
    expect_whole,
)
from tfrs_twotower.serving.recommend.selection import Selection

_LISTS = ("likes", "dislikes", "asked")
_RULES = ("allow", "deny")
_N = "n"


class Questions:
    """Chooses questions by the `Elicitation` of the newest version. Threads may share one object.

    Args:
      predictor: a `Predictor`.
      changes: `ItemChanges`, or None.
    """

    def __init__(self, predictor: Predictor, changes: ItemChanges | None = None) -> None:
        self._predictor, self._changes = predictor, changes

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The next questions.

        Args:
          request: {"likes", "dislikes", "asked": lists of item ids; "allow", "deny": rules of the items to ask about,
            as in `RecommendRequest`; "n": questions, by default 1}. All may be left out.

        Returns:
          {"model_version": …, "items": [{"item_id", "information"}, …]}: at most n, best first. Information is what the
          answer is expected to tell, in bits. Items that the version does not know say nothing; with any, the answer
          has "unknown": {"likes", "dislikes", "asked": their ids}.

        Raises:
          InvalidArgument: the request is wrong; the message says what.
          ResourceExhausted: the request is larger than the limits.
          Unimplemented: the version brings no users to compare a stranger with.
          Unavailable: no version is loaded.
        """
        asked = _read(request, self._predictor.limits)
        with self._predictor.repository.lease() as model:
            elicitation = elicitation_of(model)
            items = current_items(model, self._changes)
            selection = Selection(items, asked["allow"], asked["deny"], ())
            likes, dislikes, past = (known_rows(model, name, asked[name]) for name in _LISTS)
            found = elicitation.questions(asked[_N], likes, dislikes, past, selection.known)
            return {"model_version": model.version, "items": [
                {c.ITEM_ID: model.catalogue.ids.item(row), "information": json_tensors.single(worth)}
                for row, worth in found
            ], **unknown(model, {name: asked[name] for name in _LISTS})}

    def warm(self, model: LoadedModel) -> None:
        """Computes what the first request to a version would wait for."""
        if model.catalogue is not None:
            model.catalogue.elicitation


def elicitation_of(model: LoadedModel) -> Elicitation:
    """The version's `Elicitation`. Raises `Unimplemented` if it has none."""
    found = None if model.catalogue is None else model.catalogue.elicitation
    if found is None:
        raise Unimplemented(f"Version {model.version} brings no users to compare a stranger with. Export it again.")
    return found


def known_rows(model: LoadedModel, name: str, ids: Sequence[str | int]) -> np.ndarray:
    """int64 [any]: catalogue rows of the ids of an argument, each once, without those that the catalogue lacks."""
    rows = model.catalogue.rows(as_ids(ids, model.catalogue.id_type, name))
    return np.unique(rows[rows >= 0])


def unknown(model: LoadedModel, lists: Mapping[str, Sequence[str | int]]) -> dict[str, dict[str, list[str | int]]]:
    """{"unknown": {argument: those of its ids that the catalogue lacks}}, a part of an answer; {} if it has all."""
    found = {}
    for name, ids in lists.items():
        missing = model.catalogue.rows(as_ids(ids, model.catalogue.id_type, name)) < 0
        found[name] = [item for item, lacks in zip(ids, missing) if lacks]
    named = {name: ids for name, ids in found.items() if ids}
    return {"unknown": named} if named else {}


def _read(request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    names = (*_LISTS, *_RULES, _N)
    for name in request:
        if name not in names:
            raise InvalidArgument(f"The request has no `{str(name)[:40]}`." + nearest(name, names))
    asked = {**{name: [] for name in _LISTS}, **{name: {} for name in _RULES}, _N: 1, **whole(request)}
    for name in _LISTS:
        expect_id_list(name, asked[name])
    for name in _RULES:
        expect_object(name, asked[name])
    expect_whole(_N, asked[_N], limits.max_k)
    check_answers({name: asked[name] for name in _LISTS}, limits.max_width)
    check_lists({}, {name: asked[name] for name in _RULES}, limits.max_width)
    return asked
