"""An index in shards: each part has a range of the rows and files of its own. The best of all parts are the answer."""

import itertools
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfrs_twotower.configuration import config
from tfrs_twotower.errors import ConfigError, IndexingError, invalid
from tfrs_twotower.index import checks, saved_part
from tfrs_twotower.index.candidate_index import CandidateIndex, TopK
from tfrs_twotower.index.kind import REMOTE, SAVED_MODEL, SERVER, IndexKind, Sweep

if TYPE_CHECKING:
    from tfrs_twotower.index.config import IndexConfig

PARTS = "parts.json"


class Sharded:
    """A `CandidateIndex`, NumPy in and out, that searches its parts in threads.

    Its answer is that of one index over all rows, up to the recall of the parts. Ties go to the lower row.
    """

    exact = False  # also of exact parts, so that no search of the whole takes their place

    def __init__(self, parts: Sequence[CandidateIndex]) -> None:
        """parts: indexes over consecutive ranges of rows, in order, one at least."""
        self.parts, self.dim = tuple(parts), parts[0].dim
        *self.starts, self.size = itertools.accumulate((part.size for part in parts), initial=0)
        self._threads = ThreadPoolExecutor(thread_name_prefix="shard")

    def search(self, queries: np.ndarray, k: int) -> TopK:
        """See `CandidateIndex.search`; NumPy in and out."""
        queries, k = checks.query_matrix(queries, self.dim), int(checks.neighbours(k))
        found = self._threads.map(lambda part: part.search(queries, k), self.parts)
        return best_of_parts([in_whole(answer, start) for answer, start in zip(found, self.starts)], k)

    def settings(self) -> dict[str, Any]:
        """See `CandidateIndex.settings`."""
        return {"kind": "sharded", "size": self.size, "dim": self.dim, "parts": [p.settings() for p in self.parts]}


def in_whole(found: TopK, start: int) -> TopK:
    """A part's answer as NumPy arrays, with the rows of the whole. start: the part's first row."""
    rows = np.asarray(found.rows)
    return TopK(np.asarray(found.scores), np.where(rows >= 0, rows + start, -1).astype(np.int32))


def best_of_parts(answers: Sequence[TopK], k: int) -> TopK:
    """The k best of the answers of parts: NumPy arrays with rows of the whole. Ties go to the earlier part."""
    scores, rows = (np.concatenate([getattr(found, name) for found in answers], axis=1) for name in TopK._fields)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
    missing = [(0, 0), (0, k - scores.shape[1])]
    return TopK(
        np.pad(scores, missing, constant_values=-np.inf), np.pad(rows, missing, constant_values=-1),
    )


class Part(NamedTuple):
    """One part of an index in shards. held: its index. start: its first row. of: the number of parts."""

    held: CandidateIndex
    start: int
    of: int


@config
class ShardedKind(IndexKind):
    """An index in shards, as `IndexConfig.shards` makes it; it has no name of its own.

    kind: of the parts. shards: how many; there are fewer if there are fewer rows.
    """

    name, place = "sharded", SERVER
    kind: IndexKind = IndexKind()
    shards: int = 0

    def __post_init__(self) -> None:
        if self.shards < 1:
            way_out = "Write for example kind=faiss_hnsw with shards=4."
            raise ConfigError(invalid("IndexConfig.kind", "be the kind of the parts", "sharded", way_out))
        if self.kind.place == REMOTE or isinstance(self.kind, ShardedKind):
            way_out = "Leave `shards` out: a cluster such as Milvus shards by itself."
            rule = "be a kind on this machine if there are shards"
            raise ConfigError(invalid("IndexConfig.kind", rule, self.kind.called(), way_out))

    def build(self, vectors: np.ndarray, settings: "IndexConfig", seed: int = 0) -> Sharded:
        """See `IndexKind.build`."""
        ends = np.linspace(0, len(vectors), min(self.shards, len(vectors)) + 1).astype(int)
        return Sharded([self.kind.build(vectors[a:b], settings, seed) for a, b in zip(ends, ends[1:])])

    def sweeps(self, index: Sharded, settings: "IndexConfig") -> Sequence[Sweep]:
        """See `IndexKind.sweeps`. A sweep turns all parts alike, and costs what they cost together."""
        each = zip(*(self.kind.sweeps(part, settings) for part in index.parts))
        return [_together(sweeps) for sweeps in each]

    def memory_bytes(self, shape: tuple[int, int], leaves: int | None = None) -> int:
        """The parts together."""
        return self.shards * self.kind.memory_bytes((-(-shape[0] // self.shards), shape[1]), leaves)

    def save(self, index: Sharded, folder: Path) -> None:
        """Writes each part in a folder of its own, "1" and so on."""
        for number, part in enumerate(index.parts, 1):
            inside = folder / str(number)
            inside.mkdir()
            if self.kind.place == SAVED_MODEL:
                saved_part.save(part, self.kind, inside)
            else:
                self.kind.save(part, inside)
        said = {"starts": index.starts, "size": index.size, "dim": index.dim}
        (folder / PARTS).write_text(json.dumps(said), encoding="utf-8")

    def load(self, folder: Path) -> Sharded:
        """All parts."""
        count = len(self.read_parts(folder)["starts"])
        return Sharded([self.load_part(folder, number).held for number in range(1, count + 1)])

    def load_part(self, folder: Path, number: int) -> Part:
        """The part of a number, from 1 on. Raises `IndexingError`: there is no such part, or it cannot be read."""
        said = self.read_parts(folder)
        starts, size = said["starts"], said["size"]
        if not 1 <= number <= len(starts):
            raise IndexingError(invalid("shard", f"be one of the index's {len(starts)} parts", number, "Choose one."))
        inside, ends = folder / str(number), [*starts[1:], size]
        part = saved_part.load(self.kind, inside) if self.kind.place == SAVED_MODEL else self.kind.load(inside)
        with checks.readable(inside):
            if (part.size, part.dim) != (ends[number - 1] - starts[number - 1], said["dim"]):
                raise ValueError(f"{part.size} vectors of {part.dim} numbers, not as in {PARTS}")
        return Part(part, starts[number - 1], len(starts))

    @staticmethod
    def read_parts(folder: Path) -> dict[str, Any]:
        """{"starts": the first row of each part, "size": rows, "dim": numbers of a vector} of a folder of `save`.

        Raises:
          IndexingError: the file cannot be read.
        """
        path = folder / PARTS
        with checks.readable(path):
            said = json.loads(path.read_text(encoding="utf-8"))
            size, dim, starts = int(said["size"]), int(said["dim"]), [int(start) for start in said["starts"]]
            if not starts or starts[0] != 0 or [*starts, size] != sorted({*starts, size}):
                raise ValueError(f"parts that begin at {starts} of {size} rows")
        return {"starts": starts, "size": size, "dim": dim}


def _together(sweeps: Sequence[Sweep]) -> Sweep:
    def turn(effort: int) -> None:
        for sweep in sweeps:
            sweep.turn(min(effort, sweep.most))

    def cost(effort: int) -> float:
        return sum(sweep.cost(effort) for sweep in sweeps)

    return Sweep(max(sweep.least for sweep in sweeps), max(sweep.most for sweep in sweeps), turn, cost)
