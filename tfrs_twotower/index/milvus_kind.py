"""Milvus as a kind of index: the vectors of a catalogue, by their rows, in a collection of their own."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_twotower.configuration import config
from tfrs_twotower.errors import ConfigError, IndexingError, invalid
from tfrs_twotower.index import checks
from tfrs_twotower.index.candidate_index import TopK
from tfrs_twotower.index.kind import REMOTE, IndexKind, Sweep
from tfrs_twotower.index.milvus import MOST, MilvusIndex

if TYPE_CHECKING:
    from tfrs_twotower.index.config import IndexConfig

_COLLECTION = "collection.json"
TOKEN = "TWOTOWER_MILVUS_TOKEN"  # the environment variable with a cluster's "user:password" or API key


class MilvusRows:
    """A `CandidateIndex`, NumPy in and out, over a collection whose ids are the rows of a matrix that does not change.

    The collection's name has the checksum of the vectors, so it always holds these vectors.
    """

    exact = False

    def __init__(self, collection: MilvusIndex, size: int) -> None:
        self.size, self.dim, self.collection = size, collection.dim, collection

    @property
    def width(self) -> int:
        """The number of candidate nodes of a walk."""
        return self.collection.width

    def search(self, queries: np.ndarray, k: int) -> TopK:
        """See `CandidateIndex.search`. Milvus answers with 16,384 at most: the rest is −1."""
        k = int(k)
        found = self.collection.search(np.asarray(queries), min(k, self.size, MOST))
        missing = [(0, 0), (0, k - found.ids.shape[1])]
        scores = np.pad(found.scores, missing, constant_values=-np.inf)
        return TopK(scores, np.pad(found.ids, missing, constant_values=-1).astype(np.int32))

    def settings(self) -> dict[str, Any]:
        """See `CandidateIndex.settings`."""
        return {"kind": "milvus", "size": self.size, "dim": self.dim, "collection": self.collection.collection,
                "width": self.width}


@config
class MilvusKind(IndexKind):
    """"milvus:ADDRESS": the vectors lie in Milvus. Its width is tuned.

    A cluster's token is read from the environment, TWOTOWER_MILVUS_TOKEN, so that no file has it.

    address: a path that ends in ".db" (a local file) or a cluster's "http://host:19530".
    collection: the start of the collection's name; the checksum of the vectors is the rest.
    """

    name, place = "milvus", REMOTE
    address: str = ""
    collection: str = "twotower"

    def __post_init__(self) -> None:
        if not self.address:
            way_out = "Write for example milvus:items.db or milvus:http://localhost:19530"
            raise ConfigError(invalid("IndexConfig.kind", "have the address of Milvus", "milvus", way_out))

    @classmethod
    def at(cls, address: str) -> "MilvusKind":
        """See `IndexKind.at`."""
        return cls(address)

    def build(self, vectors: np.ndarray, settings: "IndexConfig", seed: int = 0) -> MilvusRows:
        """Fills the collection of these vectors, unless it is filled."""
        digest = checks.checksum(vectors)[:16]
        index = self._opened(digest, *vectors.shape)
        if len(index.collection) != len(vectors):
            index.collection.upsert(np.arange(len(vectors)), vectors)
            index.collection.compact()
        return index

    def sweeps(self, index: MilvusRows, settings: "IndexConfig") -> Sequence[Sweep]:
        """See `IndexKind.sweeps`."""
        least = min(settings.k, index.size)
        return [Sweep(least, min(index.size, MOST), lambda width: setattr(index.collection, "width", width), float)]

    def memory_bytes(self, shape: tuple[int, int], leaves: int | None = None) -> int:
        """0: the vectors are not in this process."""
        return 0

    def save(self, index: MilvusRows, folder: Path) -> None:
        """Writes the collection's name and address; the vectors stay in Milvus."""
        said = {"space": index.collection.space, "size": index.size, "dim": index.dim, "width": index.width}
        (folder / _COLLECTION).write_text(json.dumps(said), encoding="utf-8")

    def load(self, folder: Path) -> MilvusRows:
        """Opens the collection. Raises `IndexingError` if vectors are missing in it, or its file is broken."""
        path = folder / _COLLECTION
        with checks.readable(path):
            said = json.loads(path.read_text(encoding="utf-8"))
            space, size, dim, width = str(said["space"]), *(int(said[name]) for name in ("size", "dim", "width"))
        index = self._opened(space, size, dim)
        index.collection.width = width
        if len(index.collection) != index.size:
            raise IndexingError(
                f"The collection {index.collection.collection} at {self.address} holds {len(index.collection)} of "
                f"{index.size} vectors. Build it again: `twotower index`."
            )
        return index

    def _opened(self, space: str, size: int, dim: int) -> MilvusRows:
        token = os.environ.get(TOKEN, "")
        return MilvusRows(MilvusIndex(self.address, self.collection, dim, int, space, token), size)
