"""What clients said that users saw of answers, and what a later stage left out."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.online.answer_files import ANSWER_ID, SEEN_ID


@dataclass(frozen=True)
class Said:
    """What clients said of some answers; m impressions name one of them.

    Attributes:
      seen, dropped: bool [the items of all answers, one answer after the other]: what clients named in time.
      ids: [m], the `seen_id` of each.
      late, outside: bool [m]: it does not count, as it did not come in time; it names a place that the answer lacks.
    """

    seen: np.ndarray
    dropped: np.ndarray
    ids: list[str]
    late: np.ndarray
    outside: np.ndarray


def said_of(answers: pa.Table, impressions: pa.Table, within: int) -> Said:
    """What impressions say of answers.

    Args:
      answers: as `read_answers` gives them.
      impressions: as `read_seen` gives them.
      within: seconds after an answer in which an impression of it counts.
    """
    lengths = pc.list_value_length(answers[c.ITEM_ID]).to_numpy()
    starts, times = np.cumsum(lengths) - lengths, answers[c.TIMESTAMP].to_numpy()
    answer = pd.Index(answers[ANSWER_ID].to_pandas()).get_indexer(impressions[ANSWER_ID].to_pandas())
    impressions, answer = impressions.filter(pa.array(answer >= 0)), answer[answer >= 0]
    after = impressions[c.TIMESTAMP].to_numpy() - times[answer]
    late, outside = (after < 0) | (after >= within), np.zeros(len(impressions), bool)
    flags = []
    for name in ("place", "dropped"):
        row = np.repeat(np.arange(len(impressions)), pc.list_value_length(impressions[name]).to_numpy())
        place, of = pc.list_flatten(impressions[name]).to_numpy(), answer[row]
        there = (0 <= place) & (place < lengths[of])
        outside[row[~there]] = True
        good = there & ~late[row]
        flags.append(np.zeros(int(lengths.sum()), bool))
        flags[-1][starts[of[good]] + place[good]] = True
    return Said(flags[0], flags[1], impressions[SEEN_ID].to_pylist(), late, outside)
