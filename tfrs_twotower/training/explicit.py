"""The negatives that columns of the log name."""

import numpy as np
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.errors import ConfigError, invalid, nearest
from tfrs_twotower.sampling import Explicit


def explicit_negatives(log, sources):
    """int32 [log rows, any]: item rows that the `Explicit` sources' columns name; −1 pads. None without such.

    Ids that the log does not know are left out.

    Raises:
      ConfigError: the log has no such column.
    """
    tables = []
    for source in sources:
        if isinstance(source, Explicit):
            known = log.context.column_names
            if source.column not in known:
                rule = "name a context column of the events"
                raise ConfigError(invalid("Explicit.column", rule, source.column, nearest(source.column, known)))
            tables.append(_item_lists(log, source))
    return np.concatenate(tables, axis=1) if tables else None


def _item_lists(log, source):
    """int32 [log rows, source.count] of one column of lists of item ids."""
    lists = log.context[source.column].combine_chunks()
    ids = log.items[c.ITEM_ID].combine_chunks()
    found = pc.index_in(lists.flatten().cast(ids.type), value_set=ids).fill_null(-1).to_numpy().astype(np.int32)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    row = np.repeat(np.arange(len(lists)), lengths)
    place = np.arange(len(found)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    table = np.full([len(lists), source.count], -1, np.int32)
    kept = place < source.count
    table[row[kept], place[kept]] = found[kept]
    return table
