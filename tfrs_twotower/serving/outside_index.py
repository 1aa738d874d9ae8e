"""An index outside the SavedModel. The index finds items, and the graph scores and filters them."""

import dataclasses
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.configuration import from_dict
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.exporting import INDEX, searched_candidates, searched_queries
from tfrs_twotower.features import is_missing
from tfrs_twotower.ids import missing_id
from tfrs_twotower.index import (
    REMOTE,
    SAVED_MODEL,
    CandidateIndex,
    IndexConfig,
    IndexKind,
    build,
    kind_of,
    search_interests,
)
from tfrs_twotower.serving.catalogue import Catalogue

_log = logging.getLogger(__name__)
_BY_FEATURES = (c.SERVING_DEFAULT, c.RECOMMEND_FRESH)
_BY_VECTOR = (c.RECOMMEND_BY_VECTOR, c.RECOMMEND_FRESH_BY_VECTOR)
_SPARE = 50  # a search fetches at most k + this many items in place of hidden ones, as in the graph


def outside_kind(named: str | IndexKind) -> IndexKind:
    """The `IndexKind` of `serve --index`. Raises `ConfigError` if it is searched inside the SavedModel."""
    kind = kind_of(named)
    if kind.place == SAVED_MODEL:
        way_out = "Export with that kind instead, or choose faiss_hnsw or milvus:ADDRESS."
        raise ConfigError(invalid("index", "be a kind that is searched outside of a SavedModel", named, way_out))
    return kind


def opened(
    directory: str, manifest: Mapping[str, Any], catalogue: Catalogue, scale: float, wanted: IndexKind | None
) -> CandidateIndex | None:
    """The index of a version outside its SavedModel, or None.

    The version's own index is loaded if `wanted` reads it, or if `wanted` is None. Otherwise an index of the kind
    `wanted` is built. The result is None if the version has none and `wanted` is None.

    Raises:
      ConfigError: the kind of the version's index cannot be imported.
      IndexingError: the index cannot be read or built.
    """
    brought = manifest.get("index_kind")
    if brought and (wanted is None or wanted.reads(brought)):
        return (wanted or trusted(brought)).load(Path(directory) / INDEX)
    if wanted is None:
        return None
    vectors, weight = catalogue.vectors, manifest.get("popularity_weight") or 0.0
    if weight:
        vectors = searched_candidates(vectors, catalogue.log_popularity, weight / scale).numpy()
    index, report = build(IndexConfig(kind=wanted), vectors)
    _log.info("%s of %d items: recall@%d %.3f in %.0f s", report.kind, index.size, report.k, report.recall_at_k,
              report.build_seconds)
    return index


def trusted(brought: Mapping[str, Any]) -> IndexKind:
    """The kind that a manifest names. A manifest cannot make the server import a module or ask another machine.

    Raises:
      ConfigError: it would.
    """
    for named in _types(brought):
        if "." in named and named.rpartition(".")[0] not in sys.modules:
            raise ConfigError(f"The export's index is a `{named}`, whose module is not imported. Name it by --import.")
    kind = from_dict(brought)
    if not isinstance(kind, IndexKind) or kind.place == REMOTE:
        way_out = "Name the address by --index, if you trust it."
        raise ConfigError(f"The export's index is {brought!r}, which is not on this machine. {way_out}")
    return kind


def _types(value: Any) -> Iterator[str]:
    """The classes that a configuration names, in any depth."""
    if isinstance(value, Mapping):
        yield from [str(value["type"])] if "type" in value else []
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _types(inner)


class OutsideIndex:
    """The signatures of a loaded version, searched by an index outside its graph.

    While the index fails, the graph searches exactly.

    Args:
      index: a `CandidateIndex` over the catalogue rows, with NumPy arrays in and out.
      signatures: {name: `Signature`} of the SavedModel, with `recommend_found_by_vector`.
      item_ids: [n], the item ids of the catalogue rows.
      weighted: True if the index has one more dimension, for the popularity.
    """

    def __init__(
        self, index: CandidateIndex, signatures: Mapping[str, Any], item_ids: tf.Tensor, weighted: bool
    ) -> None:
        self._index, self._signatures, self._weighted = index, signatures, weighted
        self._found, self._embed = signatures[c.RECOMMEND_FOUND_BY_VECTOR], signatures[c.EMBED_QUERY]
        self._ids, self._missing = item_ids.numpy(), missing_id(item_ids.dtype)
        self._failed = False

    def signatures(self) -> dict[str, Any]:
        """{name: `Signature`}: those that search use the index; the others are unchanged."""
        calls = {**dict.fromkeys(_BY_FEATURES, self._by_features), **dict.fromkeys(_BY_VECTOR, self._by_vector)}
        return {
            name: dataclasses.replace(signature, function=calls.get(name, signature.function))
            for name, signature in self._signatures.items()
        }

    def _by_features(self, **given: tf.Tensor) -> dict[str, tf.Tensor]:
        """given: all inputs, by their safe names."""
        safe = {column: name for name, column in self._embed.columns.items()}
        features = {safe.get(name, name): given[safe.get(name, name)] for name in self._embed.inputs}
        embedding = self._embed.function(**features)[c.EMBEDDING]
        rest = {name: tensor for name, tensor in given.items() if name in self._found.inputs}
        return self._by_vector(**{**rest, c.EMBEDDING: embedding})

    def _by_vector(self, **given: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._found({**given, c.FOUND_IDS: self._search(given)})

    def _search(self, given: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Ids [batch, any] that the index finds.

        The width is 0 if the graph must search exactly: with an allow-list, with β, or while the index fails.
        """
        embedding = given[c.EMBEDDING]
        nothing = tf.zeros([tf.shape(embedding)[0], 0], given[c.ALLOW_IDS].dtype)
        restricted = tf.reduce_any(~is_missing(given[c.ALLOW_IDS]))
        if bool(restricted) or bool(tf.reduce_any(given[c.POPULARITY_BETA] != 0)):
            return nothing
        k = int(tf.reduce_max(given[c.K]))
        hidden = sum(int(tf.size(given[name])) for name in (c.OVERLAY_IDS, c.WITHDRAWN_IDS) if name in given)
        wanted = min(k + int(tf.shape(given[c.EXCLUDE_IDS])[1]) + min(hidden, k + _SPARE), self._index.size)
        try:
            queries = searched_queries(embedding) if self._weighted else embedding
            rows = np.asarray(search_interests(self._index, queries, max(wanted, 1)).rows)
            found = np.where(rows >= 0, self._ids[np.maximum(rows, 0)], self._missing)
        except Exception as error:  # an engine may raise anything; the graph can answer without it
            if not self._failed:
                _log.error("The index fails, and exact search takes its place: %s", error)
            self._failed = True
            return nothing
        self._failed = False
        return tf.constant(found, nothing.dtype)


def searched_outside(
    index: CandidateIndex, signatures: Mapping[str, Any], root: Any, weighted: bool
) -> dict[str, Any]:
    """The signatures of a version with an index outside its graph; see `OutsideIndex`.

    Raises:
      ConfigError: the export lacks `recommend_found_by_vector`.
    """
    if c.RECOMMEND_FOUND_BY_VECTOR not in signatures:
        raise ConfigError(
            f"`index` needs an export with the signature `{c.RECOMMEND_FOUND_BY_VECTOR}`, which old exports and "
            "those with a reranker lack. Export it anew without a reranker, or serve it without --index."
        )
    return OutsideIndex(index, signatures, root.item_ids.read_value(), weighted).signatures()
