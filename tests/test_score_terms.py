"""The terms of the score beside the towers, where there is nothing to score."""

import dataclasses

import numpy as np
import pandas as pd

from tfrs_twotower.data import Frames, UserHistories, ingest
from tfrs_twotower.models import Neighbours, Repeats
from tfrs_twotower.pipeline.score_terms import ScoreTerms
from tfrs_twotower.recipe import ModelConfig


@dataclasses.dataclass
class Rows:
    row: np.ndarray


def test_no_queries_have_no_vectors_and_no_repeats():
    frame = pd.DataFrame({"user_id": np.repeat(np.arange(8), 4), "item_id": np.arange(32) % 6,
                          "timestamp": np.arange(32)})
    log = ingest(Frames(frame))[0]
    rows, counts = np.arange(len(log)), np.bincount(log.item, minlength=6)
    model = ModelConfig(neighbours=Neighbours(penalties=(1.0,), dim=4), repeats=Repeats())
    terms = ScoreTerms(log, rows, np.arange(6, dtype=np.int32), counts, UserHistories(log), True, model, 0)
    nothing, all_rows = Rows(np.zeros(0, np.int64)), Rows(rows)
    assert terms.pooled(all_rows).shape == (32, 4)
    assert terms.pooled(nothing).shape == (0, 4)
    assert len(terms.repeated(all_rows)[1]) > 0
    items, values = terms.repeated(nothing)
    assert len(items) == 0 and values.shape == (0,) and values.dtype == np.float32
