"""Explicit negatives: from a column of the events, or items that users saw and did not like."""

from collections.abc import Iterable

import numpy as np
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, Split, wide
from tfrs_twotower.data.grouping import grouped
from tfrs_twotower.errors import ConfigError, invalid, nearest
from tfrs_twotower.features import derive_seed
from tfrs_twotower.sampling import Explicit, NegativeSource


class ExplicitNegatives:
    """The explicit negatives of log rows, for the `Explicit` sources of a model.

    From the items that its user saw, a row gets `count` items, drawn again in each step. From a column it gets the
    first ones.

    Args:
      log: an `InteractionLog`.
      sources: the model's negatives; other sources than `Explicit` are ignored.
      split: a `Split`: items shown after its training events, or after the user's first query, are not used. None: the
        log has no such items.
      catalogue: int32, the item rows that can be recommended; other shown items are left out.
      seed: of the draws.

    Raises:
      ConfigError: the log has no such column.
    """

    def __init__(
        self, log: InteractionLog, sources: Iterable[NegativeSource], split: Split | None, catalogue: np.ndarray,
        seed: int,
    ) -> None:
        sources = [source for source in sources if isinstance(source, Explicit)]
        # To mypy, they are still sources of any kind.
        tables = [
            _item_lists(log, source)  # type: ignore[arg-type]
            for source in sources if source.column is not None  # type: ignore[attr-defined]
        ]
        self._table = np.concatenate(tables, axis=1) if tables else np.zeros([len(log), 0], np.int32)
        self._count = sum(source.count for source in sources if source.column is None)  # type: ignore[attr-defined]
        self._user, self._seed = log.user, derive_seed(seed, "explicit")
        if self._count:
            kept = np.isin(log.shown.item, catalogue)
            kept &= split is None or shown_before(log, split)
            user, self._items = log.shown.user[kept], log.shown.item[kept]
            self._items = self._items[grouped(user, len(log.users))]
            self._starts = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=len(log.users)))])

    def of(self, rows: np.ndarray, step: int) -> np.ndarray:
        """int32 [rows, any]: item rows that are negatives of log rows in a step; −1 pads."""
        if not self._count:
            return self._table[rows]
        user = self._user[rows]
        begin, size = self._starts[user][:, np.newaxis], np.diff(self._starts)[user][:, np.newaxis]
        first = np.random.default_rng((self._seed, step)).random([len(rows), 1])
        place = np.arange(self._count)
        at = begin + ((first * size).astype(np.int64) + place) % np.maximum(size, 1)
        real = place < size
        drawn = np.full(at.shape, -1, np.int32)
        drawn[real] = self._items[at[real]]
        return np.concatenate([self._table[rows], drawn], axis=1)


def shown_before(log: InteractionLog, split: Split) -> np.ndarray:
    """bool [shown]: whether the item was shown before any query, and the user is not known to like it.

    That is: not after the newest training event, and before the user's first query. Without times, all count.
    """
    shown, size = log.shown, np.int64(len(log.items))
    liked = np.unique(log.user[split.known] * size + log.item[split.known])
    kept = ~np.isin(shown.user * size + shown.item, liked)
    if log.timed:
        asked = np.full(len(log.users), np.iinfo(np.int64).max)
        for queries in (split.validation, split.test):
            np.minimum.at(asked, queries.user, queries.timestamp)
        kept &= (shown.timestamp <= log.timestamp[split.train].max()) & (shown.timestamp < asked[shown.user])
    return kept


def _item_lists(log: InteractionLog, source: Explicit) -> np.ndarray:
    """int32 [log rows, source.count] of one column of lists of item ids, without ids that the log does not know."""
    known = log.context.column_names
    if source.column not in known:
        rule = "name a context column of the events"
        raise ConfigError(invalid("Explicit.column", rule, source.column, nearest(source.column, known)))
    lists, ids = wide.one(log.context[source.column]), wide.one(log.items[c.ITEM_ID])
    found = pc.index_in(lists.flatten().cast(ids.type), value_set=ids).fill_null(-1).to_numpy().astype(np.int32)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    row = np.repeat(np.arange(len(lists)), lengths)
    place = np.arange(len(found)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    table = np.full([len(lists), source.count], -1, np.int32)
    kept = place < source.count
    table[row[kept], place[kept]] = found[kept]
    return table
