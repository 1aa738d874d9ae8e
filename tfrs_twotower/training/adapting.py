"""The state of the fields of two towers: learned before training, or loaded from an earlier one."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pyarrow as pa

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, blocks, wide
from tfrs_twotower.data.grouping import grouped
from tfrs_twotower.features import Field, PastField, SearchesField
from tfrs_twotower.towers import Tower
from tfrs_twotower.training.encoded_tables import event_table
from tfrs_twotower.training.item_statistics import ItemStatistics


def adapt(
    log: InteractionLog, rows: np.ndarray, query_fields: Iterable[Field], candidate_fields: Iterable[Field],
    learn: Callable[[Field], Callable[[dict[str, pa.ChunkedArray], np.ndarray], None]] = lambda field: field.adapt,
    statistics: ItemStatistics | None = None,
) -> None:
    """Lets fields learn vocabularies and statistics from training rows alone; `learn` chooses a field's method.

    statistics: for the fields of `ItemStatistic`s.
    """
    users = blocks.counts(blocks.take(log.user, rows), log.users.num_rows)
    items = log.item_counts(rows)
    candidate_fields, table = list(candidate_fields), log.items
    if any(c.TAKEN_BY in field.columns for field in candidate_fields):
        table = table.append_column(c.TAKEN_BY, taken_by(log, rows))
    for field in candidate_fields:
        if statistics is not None and field in statistics.fields:
            learn(field)(*statistics.sample(field))
            continue
        learn(field)({name: table[name] for name in field.columns}, items)
    for field in query_fields:
        if isinstance(field, PastField):
            learn(field)(_of_past(log, rows, field), items)
            continue
        if isinstance(field, SearchesField):
            words = _words(log, rows)
            learn(field)({c.SEARCHES: words}, np.ones(len(words), np.int64))
            continue
        names = [n for n in field.columns if n not in (c.HISTORY_ITEM_ID, c.HISTORY_TIMESTAMP)]
        past = {c.HISTORY_ITEM_ID: log.items[c.ITEM_ID]} if c.HISTORY_ITEM_ID in field.columns else {}
        if all(name in log.users.column_names for name in names):
            learn(field)({**past, **{name: log.users[name] for name in names}}, users)
        else:
            table = event_table(log, names, rows)
            learn(field)({**past, **{name: table[name] for name in names}}, np.ones(len(rows), np.int64))


def _words(log: InteractionLog, rows: np.ndarray) -> pa.Array:
    """The words of training events, and of searches without an item up to the last of these."""
    earlier = log.searched.timestamp <= log.timestamp[rows].max(initial=0)
    events = wide.one(wide.take(log.context[c.QUERY], rows)).cast(pa.string())
    return pa.concat_arrays([events, log.searched.query.filter(pa.array(earlier))])


def _of_past(log: InteractionLog, rows: np.ndarray, field: PastField) -> dict[str, pa.Array | pa.ChunkedArray]:
    """The columns of `PastField.adapt`."""
    parts = {field.feature.input(part): wide.take(log.context[part], rows) for part in field.parts}
    return {**parts, **{name: log.items[name] for name in (c.ITEM_ID, *field.feature.categories)}}


def taken_by(log: InteractionLog, rows: np.ndarray) -> pa.LargeListArray:
    """`pa.LargeListArray` [items]: the user rows of each item's events among the given log rows."""
    order = grouped(blocks.take(log.item, rows), log.items.num_rows)
    ends = np.cumsum(log.item_counts(rows))
    users = blocks.take(blocks.take(log.user, rows), order)
    return pa.LargeListArray.from_arrays(np.concatenate([[0], ends]).astype(np.int64), users)


def load_fields(
    towers: tuple[Tower, Tower], states: Mapping[str, Mapping[str, Mapping[str, np.ndarray | np.number]]]
) -> None:
    """Loads the fields' state, {"query": …, "candidate": …} of `Tower.state`, into (query tower, candidate tower)."""
    query_tower, candidate_tower = towers
    candidate_tower.load_state(states["candidate"])  # first: a history reads the items' vocabulary
    query_tower.load_state(states["query"])
