"""A part of an index in shards whose kind searches in graphs: a SavedModel of its own, with NumPy in and out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import extras
from tfrs_twotower.index import checks
from tfrs_twotower.index.candidate_index import CandidateIndex, TopK
from tfrs_twotower.index.kind import IndexKind
from tfrs_twotower.index.scann import searchers_end_with

_MODEL, _SETTINGS = "model", "settings.json"


class SavedPart:
    """A loaded part: a `CandidateIndex`. Its settings are those with which it was saved."""

    exact = False

    def __init__(self, model: Path, settings: dict[str, Any]) -> None:
        self.model, self._settings = model, settings
        self.size, self.dim = int(settings["size"]), int(settings["dim"])
        self._loaded = searchers_end_with(tf.saved_model.load(str(model)))

    def search(self, queries: np.ndarray, k: int) -> TopK:
        """See `CandidateIndex.search`; NumPy in and out."""
        found = self._loaded.search(tf.constant(queries, tf.float32), tf.constant(k, tf.int32))
        return TopK(found["scores"].numpy(), found["rows"].numpy())

    def settings(self) -> dict[str, Any]:
        """See `CandidateIndex.settings`."""
        return self._settings


def save(part: CandidateIndex, kind: IndexKind, folder: Path) -> None:
    """Writes a part, built or loaded, in an empty folder.

    The SavedModel's `serving_default` takes `queries`, float32 [batch, dim], and `k`, int32; it gives `scores` and
    `rows` of the part.
    """
    if isinstance(part, SavedPart):
        held: Any = part._loaded
    else:
        held = tf.Module()
        held.index, found = part, part.search
        queries, k = tf.TensorSpec([None, part.dim], tf.float32, "queries"), tf.TensorSpec([], tf.int32, "k")
        held.search = tf.function(lambda queries, k: found(queries, k)._asdict(), input_signature=[queries, k])
    options = tf.saved_model.SaveOptions(namespace_whitelist=list(filter(None, [kind.op_namespace])))
    tf.saved_model.save(held, str(folder / _MODEL), {"serving_default": held.search}, options)
    (folder / _SETTINGS).write_text(json.dumps(part.settings()), encoding="utf-8")


def load(kind: IndexKind, folder: Path) -> SavedPart:
    """The part that `save` wrote. Raises `IndexingError`: it cannot be read. `MissingExtraError`: ops are missing."""
    if kind.op_library:
        extras.require(kind.op_library)  # registers the ops that the graph names
    with checks.readable(folder):
        settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        return SavedPart(folder / _MODEL, settings)
