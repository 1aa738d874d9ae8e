"""Why the items of an answer are in it: `explain` of `/v1/recommend`."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.channels.attributes import TEXT
from tfrs_twotower.exporting.explanation import Explanation, Items, explain, without_event
from tfrs_twotower.serving import json_tensors
from tfrs_twotower.serving.catalogue import texts
from tfrs_twotower.serving.current_items import CurrentItems
from tfrs_twotower.serving.errors import Unimplemented
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.recommend.described import described

MOST = 20  # items of an answer that are explained: the first ones
_EVENTS = 5  # events that are named for each item; the others are summed
_OFFERED = 3

Execute = Callable[[Mapping[str, tf.Tensor]], Mapping[str, np.ndarray]]


def title_column(model: LoadedModel) -> str | None:
    """The text column with the items' titles: the recipe's, or one that is called so; None if there is none."""
    names = [name for name, kind in model.catalogue.attributes.kinds.items() if kind == TEXT]
    said = (model.manifest.get("recipe") or {}).get("title")
    return said if said in names else c.title(names)


def titles(model: LoadedModel, items: CurrentItems, ids: Sequence[str | int]) -> dict[str | int, str]:
    """{item id: its title, or the id as text}."""
    column = title_column(model)
    values = described(items, ids, [column] if column else [])
    return {item: str((one.get(column) if column else None) or item) for item, one in zip(ids, values)}


def explanations(
    model: LoadedModel, items: CurrentItems, tensors: Mapping[str, tf.Tensor], scores: Mapping[str | int, float],
    k: int, execute: Execute,
) -> list[dict[str, Any]]:
    """The explanation of each item, ready for JSON; `docs/operations.md` describes it.

    It costs one batch of the query tower, and one of at most `MOST` + 1 searches.

    Args:
      model: a `LoadedModel`.
      items: its `CurrentItems`.
      tensors: the inputs of `serving_default`, one batch row.
      scores: {item id: its score by the towers, or NaN if another channel proposed it}, at most `MOST`.
      k: how many items the searches return.
      execute: runs `serving_default`.
    """
    missing = [name for name in (c.EMBED_QUERY,) if name not in model.signatures]
    if missing or not hasattr(model.root, "scale"):
        raise Unimplemented(f"Version {model.version} cannot explain its answers. Leave `explain` out.")
    features = {name: tensors[name] for name in model.query_inputs}
    ids, catalogue, beta = list(scores), items.catalogue, tensors.get(c.POPULARITY_BETA, tf.constant(0.0))
    weight = float(model.manifest.get("popularity_weight") or 0.0) - float(tf.reshape(beta, [-1])[0])
    rows, popular = catalogue.rows(ids), catalogue.log_popularity
    asked = Items(
        items.searched_vectors(ids),
        np.where(rows >= 0, popular[np.maximum(rows, 0)], np.float32(np.median(popular))),
        np.array(list(scores.values()), float), *catalogue.average, _counts_repeats(model),
    )
    # The parts of a linear tower know no objectives, so those of a mix are measured by leaving out.
    mix = {c.OBJECTIVES: tensors[c.OBJECTIVES]} if c.OBJECTIVES in tensors else {}
    past = _past(model) if hasattr(model.root, "past_vectors") and model.root.past_vectors is not None else None
    found = explain(
        lambda name, inputs: model.signature(name)({**inputs, **mix}), features, asked, float(model.root.scale), weight,
        catalogue.tower_dim, past, c.QUERY_PARTS in model.signatures and not mix,
    )
    history = texts(features[c.HISTORY_ITEM_ID].numpy()[0]).tolist() if c.HISTORY_ITEM_ID in features else []
    strongest = {one.events[0].place for one in found if one.events}
    searched = _searched(tensors, features, sorted(strongest), k, execute) if strongest else {}
    known = [item for offered in searched.values() for item in offered] + history
    named = titles(model, items, list(dict.fromkeys(known)))
    times = features[c.HISTORY_TIMESTAMP].numpy()[0].tolist() if c.HISTORY_TIMESTAMP in features else []

    def event(place: int) -> dict[str, Any]:
        item = history[place]
        return {c.ITEM_ID: item, "title": named[item], **({c.TIMESTAMP: times[place]} if times else {})}

    return [_written(item, one, event, searched, named) for item, one in zip(ids, found)]


def _written(
    item: str | int, one: Explanation, event: Callable[[int], dict[str, Any]],
    searched: Mapping[int | None, list[str | int]], named: Mapping[str | int, str],
) -> dict[str, Any]:
    short = functools.partial(round, ndigits=6)
    written = {
        "score": json_tensors.single(one.score), "base": short(one.base), "popularity": short(one.popularity),
        "repeats": short(one.repeats),
        "events": [{**event(place), "share": short(share)} for place, share in one.events[:_EVENTS]],
        "other_events": short(sum(share for _, share in one.events[_EVENTS:])),
        "features": {name: short(share) for name, share in one.features.items()}, "rest": short(one.rest),
        "method": "exact" if one.exact else "leave-one-out",
    }
    if one.events:
        place = one.events[0].place
        then = searched[place]
        new = [i for i in then if i not in searched[None]][:_OFFERED]
        written["without"] = {
            **event(place), "place": then.index(item) + 1 if item in then else None,
            "offered": [{c.ITEM_ID: i, "title": named[i]} for i in new],
        }
    return written


def _searched(
    tensors: Mapping[str, tf.Tensor], features: Mapping[str, tf.Tensor], places: Sequence[int], k: int,
    execute: Execute,
) -> dict[int | None, list[str | int]]:
    """{place: the ids that the towers offer without the event of that place}; under None those with all events."""
    queries = [dict(features)] + [without_event(features, place) for place in places]
    batch = {name: tf.concat([query[name] for query in queries], axis=0) for name in features}
    options = {name: tensors[name] for name in (c.EXCLUDE_IDS, c.OBJECTIVES) if name in tensors}
    if c.POPULARITY_BETA in tensors:
        options[c.POPULARITY_BETA] = tf.reshape(tensors[c.POPULARITY_BETA], [-1])[0]
    found = execute({**batch, **options, c.K: tf.constant(k, tf.int32)})
    ids, scores = texts(found[c.IDS]).tolist(), found[c.SCORES]
    there: Iterable[list[str | int]] = (
        [item for item, score in zip(row, values) if score > tf.float32.min] for row, values in zip(ids, scores)
    )
    return dict(zip([None, *places], there))


def _counts_repeats(model: LoadedModel) -> bool:
    """Repeats count, and no reranker changes the scores too."""
    return bool(model.manifest.get("repeat_weight")) and c.RECOMMEND_BY_VECTOR in model.signatures


def _past(model: LoadedModel) -> Callable[[np.ndarray], np.ndarray]:
    vectors, catalogue = model.root.past_vectors.past, model.catalogue

    def past(ids: np.ndarray) -> np.ndarray:
        rows = catalogue.rows(texts(ids).tolist())
        return np.where(rows[:, np.newaxis] >= 0, tf.gather(vectors, np.maximum(rows, 0)).numpy(), np.float32(0))

    return past
