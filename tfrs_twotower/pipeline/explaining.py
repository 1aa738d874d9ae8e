"""Why a user of the log gets an item, by titles."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.errors import DataError
from tfrs_twotower.exporting import Retriever
from tfrs_twotower.exporting.explanation import Explanation, Items, explain, without_event
from tfrs_twotower.features import to_tensor
from tfrs_twotower.pipeline.answers import best, plain, titled
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.requests import as_ids, live_requests

_K = 10


@dataclasses.dataclass(frozen=True, repr=False)
class Explained:
    """Why a user gets an item. It prints as a table.

    Attributes:
      shares: a frame with `share`, `of`, `item_id` and, where items have one, `title`: first the average item, then the
        largest share first. `of` is "event", "popularity", "repeats", "average item", "rest", or a feature.
      sentence: what the item's score is, and what would be offered without the strongest event.
      explanation: the `Explanation`.
    """

    shares: pd.DataFrame
    sentence: str
    explanation: Explanation

    def __repr__(self) -> str:
        return f"{self.shares.round({'share': 4}).to_string(index=False)}\n{self.sentence}"


def explained(assembly: Assembly, retriever: Retriever, user_id: Any, item_id: Any, exclude_seen: bool) -> Explained:
    """The answer of `Recommender.explain`.

    Raises:
      DataError: the catalogue has no such item.
    """
    a, r = assembly, retriever
    features, seen = live_requests(a, [user_id])
    item = to_tensor(as_ids([item_id], a.log.items, c.ITEM_ID), tf.TensorSpec([None], r.item_ids.dtype))
    row = int(r.rows_of(item)[0])
    if row < 0:
        raise DataError(f"`item_id` must be in the catalogue. Received: item_id={item_id!r}. Pass an id of the log.")
    signatures = {
        c.EMBED_QUERY: lambda inputs: {c.EMBEDDING: r.embed_query(inputs)}, c.QUERY_PARTS: r.query_parts,
    }
    popular = r.log_popularity.numpy()
    items = Items(
        r.vectors.numpy()[[row]], popular[[row]], r.score_pairs(features, item[tf.newaxis]).numpy()[0],
        r.vectors.numpy().mean(axis=0), float(popular.mean()), r.repeats is not None and r.reranking is None,
    )

    def past(ids: np.ndarray) -> np.ndarray:
        rows = r.rows_of(tf.constant(ids, r.item_ids.dtype)).numpy()[:, np.newaxis]
        vectors: np.ndarray = r.past_vectors.past.numpy()[np.maximum(rows[:, 0], 0)]
        return np.where(rows >= 0, vectors, np.float32(0))

    (one,) = explain(
        lambda name, inputs: signatures[name](inputs), features, items, float(r.scale), r.popularity_weight,
        int(r.tower_dim), None if r.past_vectors is None else past, r.is_linear,
    )
    history = plain(features[c.HISTORY_ITEM_ID].numpy())[0] if one.events else []
    how = "" if one.exact else " A share is how much lower the score is without that event or feature."
    sentence = f"Score {one.score:.4g}: the sum of these shares.{how}"
    if one.events:
        place = one.events[0].place
        whole, less = (
            plain(best(r, asked, seen, _K, exclude_seen)[0].numpy())[0]
            for asked in (features, without_event(features, place))
        )
        (strongest,), new = _names(a, [history[place]]), _names(a, [i for i in less if i not in whole])
        then = f"these come into the {_K} best items: {', '.join(new)}" if new else f"the {_K} best items stay"
        sentence += f"\nWithout the event with {strongest} {then}."
    frame = pd.DataFrame(_rows(one, history, plain(item.numpy())[0][0]), columns=["share", "of", c.ITEM_ID])
    if a.recipe.title:
        frame["title"] = [name if i != "" else "" for i, name in zip(frame[c.ITEM_ID], _names(a, frame[c.ITEM_ID]))]
    return Explained(frame, sentence, one)


def _names(assembly: Assembly, ids: Sequence[Any]) -> list[str]:
    """The items' titles; their ids, if they have none."""
    frame = titled(pd.DataFrame({c.ITEM_ID: list(ids)}), assembly.log, assembly.recipe.title)
    return [str(name) for name in frame.iloc[:, -1]]


def _rows(one: Explanation, history: list[Any], item: Any) -> list[tuple[float, str, Any]]:
    rows = [(share, "event", history[place]) for place, share in one.events]
    rows += [(share, name, "") for name, share in one.features.items()]
    rows += [(one.repeats, "repeats", item)] if one.repeats else []
    rows += [(one.popularity, "popularity", item), (one.rest, "rest", "")]
    return [(one.base, "average item", "")] + sorted(rows, key=lambda row: -abs(row[0]))
