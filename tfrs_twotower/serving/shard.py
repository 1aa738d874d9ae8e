"""One part of an index in shards, loaded as a version of its own: `twotower serve EXPORT --shard i/n`."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.configuration import config
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.exporting import INDEX
from tfrs_twotower.index import ShardedKind, in_whole
from tfrs_twotower.ranges import Count
from tfrs_twotower.serving.errors import FailedPrecondition, InvalidArgument, VersionRefused
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.outside_index import trusted
from tfrs_twotower.serving.signature import Signature

SEARCH = "search"
QUERIES, MANIFEST = "queries", "manifest"  # its inputs, beside `k`
_OUTPUTS = {c.ROWS: tf.int32, c.SCORES: tf.float32}


@config
class Shard:
    """The part of an index that a server loads.

    number: from 1 on. of: the number of parts.
    """

    number: Count
    of: Count

    def __post_init__(self) -> None:
        if self.number > self.of:
            raise ConfigError(_invalid(f"{self.number}/{self.of}"))

    @classmethod
    def read(cls, text: str) -> "Shard":
        """The `Shard` of a text such as "1/4". Raises `ConfigError`."""
        found = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text, re.ASCII)
        if found is None:
            raise ConfigError(_invalid(text))
        return cls(int(found[1]), int(found[2]))

    def needs(self, file: str) -> bool:
        """Does the part need this file of a version?"""
        return file.startswith((f"{INDEX}/{self.number}/", f"{INDEX}/parts"))

    def load(self, directory: str, version: int, manifest: dict[str, Any], identity: str | None) -> LoadedModel:
        """A version with one signature, `search`. See `model.load` for the arguments.

        `search` takes queries [batch, dim], k, and the checksum of the caller's manifest. It gives the rows of the
        whole catalogue, int32 [batch, k], and their scores; k is at most the size of the part. A caller with another
        manifest gets `FailedPrecondition`.

        Raises:
          VersionRefused: the version's index is not in that many shards.
          ConfigError, IndexingError, MissingExtraError: as `model.load`.
        """
        brought = manifest.get("index_kind")
        kind = trusted(brought) if brought else None
        if not isinstance(kind, ShardedKind):
            raise VersionRefused(f"the version has no index in shards. Export it with index.shards={self.of}.")
        part, start, of = kind.load_part(Path(directory) / INDEX, self.number)
        if of != self.of:
            raise VersionRefused(f"its index is in {of} shards, not in {self.of}. Serve it with --shard i/{of}.")

        def search(queries: tf.Tensor, k: tf.Tensor, manifest: tf.Tensor) -> dict[str, Any]:
            if manifest.numpy() != (identity or "").encode():
                raise FailedPrecondition(f"This is shard {self.number}/{of} of an export with another manifest, "
                                         f"{identity}. Serve the same export everywhere.")
            if not np.isfinite(queries).all():
                raise InvalidArgument(invalid(QUERIES, "be finite", "NaN or infinity", "Look at the query's features."))
            found = in_whole(part.search(queries.numpy(), min(int(k), part.size)), start)
            return {c.ROWS: tf.constant(found.rows), c.SCORES: tf.constant(found.scores)}

        part.search(np.zeros([1, part.dim], np.float32), 1)  # the first search is slow
        inputs = {
            QUERIES: tf.TensorSpec([None, part.dim], tf.float32, QUERIES), c.K: tf.TensorSpec([], tf.int32, c.K),
            MANIFEST: tf.TensorSpec([], tf.string, MANIFEST),
        }
        signature = Signature(SEARCH, inputs, _OUTPUTS, {}, search)
        return LoadedModel(version, manifest, identity or "", {}, {SEARCH: signature}, None)


def _invalid(text: str) -> str:
    return invalid("shard", "be i/n, with i from 1 to n", text, "Write for example 1/4 for the first of four.")
