"""Items and users in the space of vectors: the map, and similar items. At most 20,000 items are looked at."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.evaluation import SampledAnswers
from tfrs_twotower.exporting import measured, unit
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.gathering.titles import Titles
from tfrs_twotower.report import Map, MapPoint, Similar

_ITEMS = 20_000  # whose vectors are made
_MAPPED, _USERS = 1_500, 150  # points of the map
_KINDS = 7  # colours
_LEAST_KINDS, _MOST_KINDS = 3, 60  # distinct values of a column that colours
_ASKED, _NEAREST = 8, 5  # items, and their similar ones
_SAMPLE = 512  # of the density around an item, as `exporting.Similarity`
_NAMED, _TRIED = 30, 300  # the most items with a name on the map, of so many popular ones


@dataclasses.dataclass(frozen=True, eq=False)
class DrawnItems:
    """Some items of the catalogue, the most popular first.

    positions: int64 [n], in the catalogue. vectors: float32 [n, dim], of length 1.
    """

    positions: np.ndarray
    vectors: np.ndarray


def drawn(a: Assembly) -> DrawnItems:
    """At most 20,000 items: the more popular half of them, and others at random."""
    order = np.argsort(-a.train_counts, kind="stable")
    if len(order) > _ITEMS:
        rest = np.random.default_rng(0).choice(order[_ITEMS // 2:], _ITEMS - _ITEMS // 2, replace=False)
        order = np.concatenate([order[: _ITEMS // 2], rest])
    return DrawnItems(order, unit(a.item_vectors(order)))


def placed(a: Assembly, found: DrawnItems, answers: SampledAnswers, titles: Titles) -> Map | None:
    """The map: the two principal directions of the items' vectors. None with fewer than three items."""
    if len(found.positions) < 3:
        return None
    centre = found.vectors.mean(axis=0)
    _, lengths, axes = np.linalg.svd(found.vectors - centre, full_matrices=False)
    axes = axes[:2].T
    share = lengths[:2] ** 2 / max(float((lengths ** 2).sum()), 1e-12)
    kept = np.arange(len(found.positions))
    if len(kept) > _MAPPED:
        rest = np.random.default_rng(0).choice(kept[_MAPPED // 2:], _MAPPED - _MAPPED // 2, replace=False)
        kept = np.concatenate([kept[: _MAPPED // 2], rest])
    at = (found.vectors[kept] - centre) @ axes
    rows = a.catalogue[found.positions[kept]]
    column, kinds, names = _kinds(a, rows)
    labels = _labels(at)
    points = [MapPoint(round(float(x), 4), round(float(y), 4), title, kind, label)
              for (x, y), title, kind, label in zip(at, titles(rows), kinds, labels)]
    asked = np.unique(np.linspace(0, len(answers) - 1, min(_USERS, len(answers))).astype(int))
    vectors = a.tower_vectors(answers.row[asked])
    vectors = vectors.reshape(len(asked), -1, vectors.shape[-1])
    for user, own in zip(a.log.users[c.USER_ID].take(answers.user[asked]).to_pylist(), vectors):
        for x, y in (unit(own) - centre) @ axes:
            points.append(MapPoint(round(float(x), 4), round(float(y), 4), f"user {user}", "user"))
    return Map(tuple(points), names, column, (float(share[0]), float(share[-1])), len(kept), len(a.catalogue))


def _labels(at: np.ndarray) -> list[int]:
    """2 for items whose name fits on a phone, 1 for those that fit on a wide screen, else 0; the first ones first.

    A name takes a share of the map's width and height; on the right half it stands left of its place.
    """
    low, high = at.min(axis=0), at.max(axis=0)
    placed, labels = (at - low) / np.maximum(high - low, 1e-9), [0] * len(at)
    for level, width, height in ((2, 0.5, 0.06), (1, 0.21, 0.045)):
        for i in range(min(len(at), _TRIED)):
            taken = [j for j, label in enumerate(labels) if label]
            if labels[i] or len(taken) >= _NAMED:
                continue
            left = placed[:, 0] - width * (placed[:, 0] > 0.5)
            beside = np.abs(left[taken] - left[i]) < width
            if not (beside & (np.abs(placed[taken, 1] - placed[i, 1]) < height)).any():
                labels[i] = level
    return labels


def _kinds(a: Assembly, rows: np.ndarray) -> tuple[str | None, list[str], tuple[str, ...]]:
    """(the column that colours, the category of each row, the categories by their number of items)."""
    best: tuple[int, str, list[str]] | None = None
    for name in a.log.items.column_names:
        values = None if name in (c.ITEM_ID, a.recipe.title) else _texts(a.log.items[name], rows)
        if values is not None:
            distinct = len(set(values) - {""})
            if _LEAST_KINDS <= distinct <= _MOST_KINDS and (best is None or distinct > best[0]):
                best = distinct, name, values
    if best is None:
        return None, ["item"] * len(rows), ("item",)
    found, times = np.unique([value for value in best[2] if value], return_counts=True)
    names = found[np.argsort(-times, kind="stable")][:_KINDS].tolist()
    kinds = [value if value in names else "other" for value in best[2]]
    return best[1], kinds, (*names, "other") if "other" in kinds else tuple(names)


def _texts(column: pa.ChunkedArray, rows: np.ndarray) -> list[str] | None:
    """The values of a column of text at some rows, of lists the first; None for another type."""
    kind = column.type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    values = column.take(rows).combine_chunks()
    if pa.types.is_dictionary(kind):
        values, kind = pc.cast(values, kind.value_type), kind.value_type
    inner = kind.value_type if listed else kind
    if not (pa.types.is_string(inner) or pa.types.is_large_string(inner)):
        return None
    found = values.to_pylist()
    return [(v[0] if v else "") or "" if listed else v or "" for v in found]


def similar(a: Assembly, found: DrawnItems, titles: Titles) -> tuple[Similar, ...]:
    """The nearest of the drawn items to eight of the 200 most popular ones, by the measure of `exporting.Similarity`.
    """
    vectors = found.vectors
    if len(vectors) < 2 * _NEAREST:
        return ()
    sample = np.sort(np.random.default_rng(a.recipe.training.seed).permutation(len(vectors))[:_SAMPLE])
    density = measured(vectors, vectors[sample])[1]
    asked = np.unique(np.linspace(0, min(len(vectors), 200) - 1, _ASKED).astype(int))
    scores = 2 * vectors[asked] @ vectors.T - density[asked, np.newaxis] - density
    scores[np.arange(len(asked)), asked] = -np.inf
    best = np.argsort(-scores, axis=1)[:, :_NEAREST]
    rows = a.catalogue[found.positions]
    return tuple(
        Similar(titles(rows[[item]])[0], tuple(zip(titles(rows[near]), own[near].round(2).tolist())))
        for item, near, own in zip(asked, best, scores)
    )
