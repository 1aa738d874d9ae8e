"""Ranks on disk, part by part: an evaluation of many queries that was stopped continues."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrs_twotower.data import Spark
from tfrs_twotower.durable import DAMAGED_NPZ, written_aside


@dataclass(frozen=True)
class Parts:
    """A folder that keeps what is ranked. A part is a range of queries of one scorer.

    The name of a part's file has a digest of the targets, the exclusions and some of the scores. So a scorer that has
    changed, such as a baseline that was tuned anew, is ranked again.

    Attributes:
      folder: made if it is missing.
      queries: of a part, at least. A part ends where a block of queries ends, so scores are rounded as without parts.
      spark: the `Spark` whose tasks rank a part each, and write to the folder; None: this process ranks them.
    """

    folder: Path
    queries: int = 20_000
    spark: Spark | None = None

    def ranges(self, size: int, block: int) -> Iterator[tuple[int, int]]:
        """(start, stop) of each part of `size` queries that are scored `block` at a time."""
        step = -(-self.queries // block) * block
        for start in range(0, size, step):
            yield start, min(start + step, size)

    def read(self, digest: str, start: int, stop: int, into: Mapping[str, np.ndarray]) -> bool:
        """Fills the arrays from the part's file; False if there is none, or it is damaged."""
        try:
            with np.load(self._path(digest, start, stop), allow_pickle=False) as file:
                found = {name: file[name] for name in into}
        except DAMAGED_NPZ:
            return False
        if any((found[name].shape, found[name].dtype) != (array.shape, array.dtype) for name, array in into.items()):
            return False
        for name, array in into.items():
            array[...] = found[name]
        return True

    def write(self, digest: str, start: int, stop: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps the arrays of a part."""
        path = self._path(digest, start, stop)
        self.folder.mkdir(parents=True, exist_ok=True)
        with written_aside(path, f"{path}.{uuid.uuid4().hex}") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # none is an option

    def has(self, digest: str, start: int, stop: int) -> bool:
        """Whether there is a file of the part."""
        return self._path(digest, start, stop).exists()

    def _path(self, digest: str, start: int, stop: int) -> Path:
        return self.folder / f"{digest}-{start:010d}-{stop:010d}.npz"
