"""The parity check: a loaded SavedModel must give the Python model's answers, on ordinary and on odd inputs."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting.retriever import Retriever
from tfrs_twotower.ids import missing_value
from tfrs_twotower.index import searchers_end_with

TOLERANCE = 1e-5  # relative to the larger of 1 and the score


def odd(specs: Mapping[str, tf.TensorSpec], rows: int = 3) -> dict[str, tf.Tensor]:
    """Odd query features, which real logs also hold: unknown and missing ids, NaN, zero times, empty lists."""

    def value(spec: tf.TensorSpec) -> tf.Tensor:
        shape = [rows] if len(spec.shape) == 1 else [rows, 0] if spec.shape[1] is None else [rows, spec.shape[1]]
        if spec.dtype == tf.string:
            return tf.reshape(tf.constant(["", "never seen before", "né\u4eba"][:rows]), shape) if len(shape) == 1 \
                else tf.zeros(shape, tf.string)
        return tf.fill(shape, tf.constant(missing_value(spec.dtype), spec.dtype))

    return {name: value(spec) for name, spec in specs.items()}


def check(
    retriever: Retriever, directory: str | Path, samples: Iterable[Mapping[str, tf.Tensor]], k: int = 20
) -> float:
    """Compares `serving_default` and `recommend_exact` of a saved export with the model in memory.

    Args:
      retriever: the `Retriever` that was saved.
      directory: the folder of the export.
      samples: list of {input name: tensor}, batches of raw query features; a batch of `odd` features is added.
      k: the number of items that are compared for each query.

    Returns:
      The largest difference of a score, relative to the larger of 1 and the score.

    Raises:
      ExportError: an id differs, or a score differs by more than 1e-5.
    """
    loaded = searchers_end_with(tf.saved_model.load(str(directory)))
    nothing = tf.zeros([1, 0], retriever.item_ids.dtype)
    some = tf.reshape(retriever.item_ids[: min(3, retriever.size)], [1, -1])
    worst = 0.0
    for features in [*samples, odd(retriever.query_tower.inputs())]:
        weights = {} if retriever.heads is None else {c.OBJECTIVES: tf.ones([1, retriever.heads.shape[0]])}
        for excluded, allowed, beta in ((nothing, nothing, 0.0), (some, nothing, 0.0), (nothing, some, 0.5)):
            request = {
                **{c.safe(column): value for column, value in features.items()},
                c.K: tf.constant(k), c.EXCLUDE_IDS: excluded, c.ALLOW_IDS: allowed,
                c.POPULARITY_BETA: tf.constant(beta), **weights,
            }
            asked = functools.partial(retriever.recommend, features, k, excluded, allowed, beta, **weights)
            answers = {c.SERVING_DEFAULT: asked(exact=not retriever.searches_inside)}
            if retriever.searches_inside:  # otherwise they are one function
                answers[c.RECOMMEND_EXACT] = asked(exact=True)
            for name, (ids, scores) in answers.items():
                worst = max(worst, _difference(name, ids, scores, loaded.signatures[name](**request)))
    return worst


def _difference(name: str, ids: tf.Tensor, scores: tf.Tensor, answer: Mapping[str, tf.Tensor]) -> float:
    if not np.array_equal(ids.numpy(), answer[c.IDS].numpy()):
        raise ExportError(f"Parity: `{name}` of the saved model returns other ids than the model in memory.")
    expected, got = scores.numpy().astype(np.float64), answer[c.SCORES].numpy().astype(np.float64)
    if not expected.size:
        return 0.0
    worst = float(np.max(np.abs(expected - got) / np.maximum(1.0, np.abs(expected))))
    if not worst <= TOLERANCE:
        raise ExportError(
            f"Parity: scores of `{name}` differ by {worst:.2e} between the saved model and the model in memory; "
            f"at most {TOLERANCE:.0e} is accepted."
        )
    return worst
