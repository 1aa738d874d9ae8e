"""Why a query gets an item: the score as a sum of shares of events, features, popularity, repeats and the rest.

An item's rank depends on how its score differs from that of other items. So all shares are differences from the
average item, the mean of the catalogue, whose score is `base`: score = base + Σ shares. Compare the base value of
Lundberg and Lee 2017, "A unified approach to interpreting model predictions" (SHAP).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.features import is_missing
from tfrs_twotower.features.past import PARTS
from tfrs_twotower.ids import missing_value

NEWEST = 100  # events that are left out one by one: as many as most sequence towers read
_FEATURES = 20  # features that are left out one by one, at most
_HISTORY = frozenset(map(c.past, PARTS))  # the inputs of a query with one value for each event

Run = Callable[[str, Mapping[str, tf.Tensor]], Mapping[str, Any]]  # signature name, inputs by column → outputs


class Share(NamedTuple):
    """What one event of the history adds to a score. place: its place in the query's `history_item_id`."""

    place: int
    share: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The shares of one item's score, which is `base` + `popularity` + `repeats` + all events + all features + `rest`.

    Attributes:
      score: the item's score.
      base: the score of the average item.
      popularity: log p(item) less the catalogue's mean, times the weight of popularity.
      repeats: what the user's earlier events with this very item add; 0 if the score has no such term, or a reranker.
      events: a list of `Share`s, the largest first.
      features: {feature: share}.
      rest: what belongs to no single one: a reranker, and what parts of the query do together.
      exact: True: the query tower is linear, and the shares are those of its sum. False: a share is how much lower the
        score is without the event or feature. Only the newest 100 events have one.
    """

    score: float
    base: float
    popularity: float
    repeats: float
    events: list[Share]
    features: dict[str, float]
    rest: float
    exact: bool


@dataclasses.dataclass(frozen=True)
class Items:
    """The m items to explain, and what they are compared with.

    Attributes:
      vectors: float32 [m, dim], as they are searched.
      log_popularity: float32 [m].
      scores: float32 [m]; NaN: the sum of towers, neighbours and popularity.
      mean_vector: float32 [dim], of the catalogue.
      mean_log_popularity: of the catalogue.
      repeats: what `scores` have above the sum of towers, neighbours and popularity comes from repeats alone.
    """

    vectors: np.ndarray
    log_popularity: np.ndarray
    scores: np.ndarray
    mean_vector: np.ndarray
    mean_log_popularity: float
    repeats: bool = False


def explain(
    run: Run, features: Mapping[str, tf.Tensor], items: Items, scale: float, popularity: float, tower_dim: int,
    past: Callable[[np.ndarray], np.ndarray] | None, exact: bool,
) -> list[Explanation]:
    """The `Explanation` of each item for one query.

    If the tower is not linear, it embeds one batch of at most 121 queries, however many items there are.

    Args:
      run: runs a signature of the export.
      features: {column: tensor of one batch row}, all inputs of the query tower.
      items: an `Items`.
      scale: 1 / τ.
      popularity: the weight of log p(item), less the request's β.
      tower_dim: dimensions of the towers' vectors; the others are those of `PastVectors`.
      past: item ids [n] → `PastVectors.past` [n, dim] of these, zeros for an unknown one; None without neighbours.
      exact: the export has the signature `query_parts`.
    """
    contrast = scale * (items.vectors - items.mean_vector)  # [m, dim]
    names, places, batch = _without(features, exact)
    vectors = np.asarray(run(c.EMBED_QUERY, batch)[c.EMBEDDING])
    vectors = vectors[:, np.newaxis] if vectors.ndim == 2 else vectors  # [rows, interests, dim]
    chosen = np.argmax(vectors[0] @ items.vectors.T, axis=0)  # the interest that finds each item
    base = scale * float(np.mean(vectors[0] @ items.mean_vector)) + popularity * items.mean_log_popularity
    popular = popularity * (items.log_popularity - items.mean_log_popularity)
    width = _width(features)
    events, parts = np.zeros((len(contrast), width)), dict[str, np.ndarray]()
    if exact:
        for name, part in run(c.QUERY_PARTS, features).items():
            shares = np.asarray(part)[0] @ contrast[:, :tower_dim].T
            if name == c.HISTORY_ITEM_ID:
                start = max(_last(features) - len(shares), 0)
                end = min(start + len(shares), width)
                events[:, start:end] += shares[: end - start].T
            else:
                parts[name] = shares
    else:
        towers = np.max(vectors[..., :tower_dim] @ contrast[:, :tower_dim].T, axis=1)  # [rows, m]
        drops = towers[0] - towers[1:]
        events[:, places] = drops[: len(places)].T
        parts = dict(zip(names, drops[len(places):]))
    if past is not None:
        events += _neighbours(features, vectors[0, 0, tower_dim:], contrast[:, tower_dim:], past)
    plain = scale * np.einsum("md,md->m", vectors[0][chosen], items.vectors) + popularity * items.log_popularity
    scores = np.where(np.isnan(items.scores), plain, items.scores)
    repeats = (scores - plain) * items.repeats
    there = np.flatnonzero(_there(features)) if width else np.zeros(0, int)
    found = []
    for at, score in enumerate(scores.tolist()):
        of_events = sorted((Share(int(p), float(events[at, p])) for p in there), key=lambda s: -s.share)
        of_features = {name: float(shares[at]) for name, shares in parts.items()}
        known = base + popular[at] + repeats[at] + events[at].sum() + sum(of_features.values())
        found.append(Explanation(
            score, base, float(popular[at]), float(repeats[at]), of_events, of_features, float(score - known), exact))
    return found


def without_event(features: Mapping[str, tf.Tensor], place: int) -> dict[str, tf.Tensor]:
    """The query without one event of its history, given by its place in `history_item_id`."""
    order = _order(_width(features), place)[np.newaxis]
    return {name: _in_order(value, order) if _of_history(name) else value for name, value in features.items()}


def _without(
    features: Mapping[str, tf.Tensor], exact: bool
) -> tuple[list[str], Sequence[int], dict[str, tf.Tensor]]:
    """(features, places of events, batch): the query, then the query without each of these events, and features."""
    if exact:
        return [], [], dict(features)
    places = np.flatnonzero(_there(features))[-NEWEST:].tolist() if _width(features) else []
    names = [name for name, value in features.items() if not _of_history(name) and not _is_empty(value)][:_FEATURES]
    width, rows = _width(features), 1 + len(places) + len(names)
    order = np.tile(np.arange(width), (rows, 1))
    for row, place in enumerate(places, 1):
        order[row] = _order(width, place)
    batch = {name: _in_order(value, order) if _of_history(name) else tf.repeat(value, rows, axis=0)
             for name, value in features.items()}
    for row, name in enumerate(names, 1 + len(places)):
        batch[name] = tf.tensor_scatter_nd_update(batch[name], [[row]], _nothing(features[name]))
    return names, places, batch


def _neighbours(
    features: Mapping[str, tf.Tensor], behind: np.ndarray, contrast: np.ndarray,
    past: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """[m, width]: the shares of events by `PastVectors`, whose direction is that of a sum over the distinct items."""
    ids, shares = features[c.HISTORY_ITEM_ID].numpy()[0], np.zeros((len(contrast), _width(features)))
    last = {item: place for place, item in enumerate(ids.tolist())}  # an item counts once: at its newest event
    places = np.array([place for place in last.values() if _there(features)[place]], int)
    if not len(places):
        return shares
    vectors = past(ids[places])
    length = np.linalg.norm(vectors.sum(axis=0))
    if length > 0:
        shares[:, places] = contrast @ vectors.T * (np.linalg.norm(behind) / length)
    return shares


def _of_history(name: str) -> bool:
    return name in _HISTORY


def _width(features: Mapping[str, tf.Tensor]) -> int:
    return features[c.HISTORY_ITEM_ID].shape[1] if c.HISTORY_ITEM_ID in features else 0


def _last(features: Mapping[str, tf.Tensor]) -> int:
    """Where the history ends: the place of the last event, plus 1."""
    return int(np.flatnonzero(_there(features)).max(initial=-1)) + 1


def _there(features: Mapping[str, tf.Tensor]) -> np.ndarray:
    return ~is_missing(features[c.HISTORY_ITEM_ID]).numpy()[0]


def _order(width: int, place: int) -> np.ndarray:
    """int64 [width]: all places but one, and the place `width` at the end."""
    return np.delete(np.arange(width + 1), place)


def _in_order(values: tf.Tensor, order: np.ndarray) -> tf.Tensor:
    """Values [1, n] by their places [rows, n]; n stands for a missing value."""
    end = tf.constant([missing_value(values.dtype)], values.dtype)
    return tf.gather(tf.concat([values[0], end], axis=0), order)


def _nothing(value: tf.Tensor) -> tf.Tensor:
    """A missing value of the same shape, as a server fills it in."""
    if value.dtype.is_floating and value.shape.rank == 2:
        return tf.zeros_like(value)  # a vector
    return tf.fill(tf.shape(value), tf.constant(missing_value(value.dtype), value.dtype))


def _is_empty(value: tf.Tensor) -> bool:
    if value.dtype.is_floating:
        return bool(tf.reduce_all((value == 0) | tf.math.is_nan(value) if value.shape.rank == 2
                                  else tf.math.is_nan(value)))
    return bool(tf.reduce_all(is_missing(value)))
