"""What people chose among what they were shown, in the events that an update holds out."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.data import Files, InteractionLog, Queries, QueryBuilder, Ragged, Rules, Source, parts_of
from tfrs_twotower.data.checking import begun
from tfrs_twotower.data.rejects import Rejects
from tfrs_twotower.data.unchosen import DROPPED
from tfrs_twotower.errors import NoEvents
from tfrs_twotower.online import Store, is_collected
from tfrs_twotower.pipeline.assembly import SAMPLE_SEED, Assembly


@dataclasses.dataclass(frozen=True, eq=False)
class Choices:
    """Answers in which something was chosen and something else was not.

    Attributes:
      queries: a query for each, at its first event.
      items: `Ragged`: catalogue positions of the items that were seen.
      chosen: bool [items].
    """

    queries: Queries
    items: Ragged
    chosen: np.ndarray

    def __len__(self) -> int:
        return len(self.items)


def read_choices(a: Assembly) -> Choices | None:
    """The `Choices` of the held-out events; None if the log's source does not say what was shown.

    The last item that was seen of an answer is left out. Some people stop reading at what they choose; with that item
    it would seem that the best is always at the end. At most `evaluation.test_queries` answers are drawn.

    Args:
      a: the `Assembly` of an update.
    """
    held = np.setdiff1d(np.arange(len(a.log)), np.union1d(a.split.known, a.split.left_out))
    since = int(a.log.timestamp[held[0]])
    found = [rows for part in parts_of(a.recipe.source) if (rows := _rows(part, a.log, since)) is not None]
    if not found:
        return None
    rows = pd.concat(found, ignore_index=True)
    first = rows[rows.liked].sort_values("time", kind="stable").drop_duplicates("answer").set_index("answer")
    seen = rows.groupby(["answer", "item"], as_index=False).agg({"liked": "max", "place": "min"})
    seen["position"] = a.positions(seen["item"].to_numpy())
    seen = seen[(seen.place < seen.groupby("answer").place.transform("max")) & (seen.position >= 0)]
    liked = seen.groupby("answer").liked.transform("mean")
    seen = seen[(liked > 0) & (liked < 1)].sort_values(["answer", "place"])
    asked = _at(a.log, held, first.loc[seen.answer.unique()])
    answers = asked.index[asked >= 0].to_numpy()
    most = a.recipe.evaluation.most_test_queries(a.log.items.num_rows) or len(answers)
    drawn = np.sort(np.random.default_rng(SAMPLE_SEED).permutation(len(answers))[:most])
    seen = seen[seen.answer.isin(answers[drawn])]
    row = asked[answers[drawn]].to_numpy()
    return Choices(
        QueryBuilder(a.log).build(row, row),
        Ragged.from_lengths(seen.position.to_numpy(), seen.groupby("answer").size().to_numpy()),
        seen.liked.to_numpy(bool),
    )


def _at(log: InteractionLog, held: np.ndarray, events: pd.DataFrame) -> pd.Series:
    """The held-out log rows of events; −1 of those that are none."""
    known = pd.MultiIndex.from_arrays([log.user[held], log.item[held], log.timestamp[held]])
    once = np.flatnonzero(~known.duplicated())
    place = known[once].get_indexer(pd.MultiIndex.from_frame(events[["user", "item", "time"]]))
    return pd.Series(np.append(held[once], -1)[place], events.index)


def _rows(part: Any, log: InteractionLog, since: int) -> pd.DataFrame | None:
    """A row for each item of an answer and each event in it, from `since` on; None if the source has no answers."""
    batches = _with_answers(part, since)
    if batches is None:
        return None
    try:
        reader, read = begun(_Events(part.name, batches), Rules(limit=1.0), Rejects(None))
    except NoEvents:
        return None
    found = []
    for accepted in map(reader.read, read):
        context: Any = accepted.context  # a table, as `_with_answers` names columns
        answer = pc.fill_null(context[c.ANSWER], "").to_numpy(zero_copy_only=False)
        place = context[c.PLACE].cast(pa.float64()).to_numpy()
        kept = (answer != "") & ~np.isnan(place) & (accepted.timestamp >= since)
        kept &= pc.fill_null(pc.not_equal(context[c.EVENT], DROPPED), True).to_numpy(zero_copy_only=False)
        ids = {"user": accepted.user, "item": accepted.item}
        found.append(pd.DataFrame({
            **{name: _rows_of(column.filter(pa.array(kept)), log, name) for name, column in ids.items()},
            "time": accepted.timestamp[kept], "liked": accepted.label[kept] > 0, "answer": answer[kept],
            "place": place[kept],
        }))
    rows = pd.concat(found, ignore_index=True)
    return rows[(rows.user >= 0) & (rows["item"] >= 0)]


def _rows_of(ids: pa.Array, log: InteractionLog, name: str) -> np.ndarray:
    """The rows of ids in the log's table of users or items; −1 of those that it lacks."""
    known = log.users[c.USER_ID] if name == "user" else log.items[c.ITEM_ID]
    return pc.fill_null(pc.index_in(ids.cast(known.type), value_set=known), -1).to_numpy()


def _with_answers(part: Any, since: int) -> Iterator[pa.RecordBatch] | None:
    """The events of a source with their answers and places, those from `since` on at least; None if it has none."""
    names = (c.ANSWER, c.PLACE)
    if isinstance(part, Store):
        there = part.log and (part.until is None or part.until > since)
        return dataclasses.replace(part, since=max(part.since, since)).rows(names) if there else None
    if isinstance(part, Files) and part.columns.event == c.EVENT:
        if {*names} <= {*part.columns.context}:
            return part.interactions()
        if is_collected(part.path):
            return dataclasses.replace(part, columns=dataclasses.replace(part.columns, context=names)).interactions()
    return None


@dataclasses.dataclass(frozen=True)
class _Events(Source):
    """Batches as a source without tables."""

    name: str
    batches: Iterator[pa.RecordBatch]

    def interactions(self) -> Iterator[pa.RecordBatch]:
        return self.batches
