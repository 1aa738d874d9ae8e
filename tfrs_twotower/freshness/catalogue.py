"""The catalogue of a served version as the main part of an index that changes, without another copy of its index."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.errors import IndexingError
from tfrs_twotower.index import MutableIndex, TopK
from tfrs_twotower.serving.catalogue import texts
from tfrs_twotower.serving.model import LoadedModel

_SEARCH, _FRESH = "recommend_by_vector", "recommend_fresh"


class ServedCatalogue:
    """A `CandidateIndex` that asks the export's own one. The rows are those of `ids`.

    Args:
      model: a `serving` `LoadedModel` with the signature `recommend_by_vector`.
      ids: list of n, the catalogue's.
      dim: of the vectors.
    """

    exact = False

    def __init__(self, model: LoadedModel, ids: Sequence[str | int], dim: int) -> None:
        self.size, self.dim = len(ids), dim
        self._signature, self._scale = model.signature(_SEARCH), float(model.root.scale)
        self._interests = self._signature.inputs[c.EMBEDDING].shape.as_list()[1:-1]
        self._rows = pd.Index(ids)

    def search(self, queries: np.ndarray, k: int) -> TopK:
        """See `CandidateIndex.search`; NumPy in and out."""
        for interests in self._interests:  # the same vector for each: the largest of equal scores counts
            queries = np.repeat(queries[:, np.newaxis], interests, axis=1)
        answer = self._signature({c.EMBEDDING: tf.constant(queries), c.K: tf.constant(k, tf.int32)})
        ids, scores = texts(answer[c.IDS].numpy()), answer[c.SCORES].numpy()
        rows = self._rows.get_indexer(ids.ravel()).reshape(ids.shape)
        return TopK(np.where(rows >= 0, scores / self._scale, -np.inf), rows.astype(np.int32))

    def settings(self) -> dict[str, Any]:
        """See `CandidateIndex.settings`."""
        return {"kind": "served", "size": self.size, "dim": self.dim}


def catalogue_index(model: LoadedModel) -> MutableIndex:
    """A `MutableIndex` over the catalogue of a loaded version; its `delta` is what changed since the export.

    It cannot be rebuilt: the next export is what takes the changes in.

    Raises:
      IndexingError: the export holds no catalogue or no search by vector, as one with a reranker.
    """
    if not {_SEARCH, _FRESH} <= set(model.signatures) or model.catalogue is None:
        raise IndexingError(
            f"Version {model.version} cannot take in items that change: it lacks the signature `{_FRESH}`, as do "
            "exports with a reranker and old ones. Export it anew without a reranker, or serve it without an items log."
        )
    ids, vectors = model.catalogue.ids.tolist(), model.catalogue.vectors

    def build(found: np.ndarray) -> ServedCatalogue:
        if not np.array_equal(found, vectors):
            raise IndexingError("The catalogue of a served version cannot be rebuilt. Export a new version.")
        return ServedCatalogue(model, ids, vectors.shape[1])

    space = model.manifest.get("embedding_space", "")
    index = MutableIndex(build, vectors.shape[1], model.catalogue.id_type, space=space)
    index.upsert(ids, vectors)
    index.rebuild()
    return index
