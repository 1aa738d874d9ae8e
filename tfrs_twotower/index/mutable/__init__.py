"""An index that changes: a main index, an exact overlay, tombstones and a log that survives a crash."""

from tfrs_twotower.index.mutable.journal import Journal
from tfrs_twotower.index.mutable.mutable_index import Delta, MutableIndex

__all__ = ["Delta", "Journal", "MutableIndex"]
