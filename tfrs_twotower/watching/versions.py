"""Versions asked again what was asked of the server: against each other, and against their exact search."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from scipy.linalg import orthogonal_procrustes

from tfrs_twotower import columns as c
from tfrs_twotower.serving.features import column
from tfrs_twotower.serving.model import LoadedModel

_BATCH = 100
K = 10


def watch_index(model: LoadedModel, answers: pa.Table, queries: int = 500) -> dict[str, float]:
    """`recall`: the share of the exact top 10 of `recommend_exact` that `serving_default` finds, over queries that were
    logged. {} if the version has no such search, or if no query was logged."""
    asked = _queries(answers, queries)
    if c.RECOMMEND_EXACT not in model.signatures or not asked:
        return {}
    exact, found = (_top(model, name, asked) for name in (c.RECOMMEND_EXACT, ""))
    return {"recall": _overlap(exact, found)}


def watch_versions(old: LoadedModel, new: LoadedModel, answers: pa.Table, queries: int = 500) -> dict[str, float]:
    """What changed from one version to the next.

    Returns:
      `overlap`: the mean share of the top 10 of logged queries that both have. `item_cosine`: the mean cosine of the
      vectors of an item in both, after the rotation that aligns them best (Schönemann 1966); 1 is no drift.
      `new_items`: the share of the new version's items that the old one lacks. What cannot be measured is left out.
    """
    asked, found = _queries(answers, queries), {}
    if asked:
        found["overlap"] = _overlap(_top(old, "", asked), _top(new, "", asked))
    if old.catalogue is None or new.catalogue is None:
        return found
    rows = old.catalogue.rows(new.catalogue.ids.tolist())
    found["new_items"] = float((rows < 0).mean())
    first, second = old.catalogue.tower_vectors[rows[rows >= 0]], new.catalogue.tower_vectors[rows >= 0]
    if first.shape == second.shape and len(first):
        first, second = _unit(first), _unit(second)
        rotation, _ = orthogonal_procrustes(first, second)
        found["item_cosine"] = float(np.sum((first @ rotation) * second, axis=1).mean())
    return found


def _queries(answers: pa.Table, most: int) -> list[dict[str, Any]]:
    """The features of some answers."""
    texts = answers["features"].to_pylist()
    rows = np.random.default_rng(0).choice(len(texts), min(most, len(texts)), replace=False)
    return [json.loads(texts[row]) for row in rows]


def _top(model: LoadedModel, name: str, queries: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """The ids of the top 10 of each query. A feature that a query lacks is missing."""
    signature, found = model.signature(name), []
    for start in range(0, len(queries), _BATCH):
        part = queries[start:start + _BATCH]
        tensors = {
            feature: tf.constant(column([query.get(feature) for query in part], signature.inputs[feature]),
                                 signature.inputs[feature].dtype)
            for feature in model.query_inputs if feature in signature.inputs
        }
        found += signature({**tensors, c.K: tf.constant(K, tf.int32)})[c.IDS].numpy().tolist()
    return found


def _overlap(first: Sequence[Sequence[Any]], second: Sequence[Sequence[Any]]) -> float:
    return float(np.mean([len(set(a) & set(b)) / max(1, len(set(a))) for a, b in zip(first, second)]))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
