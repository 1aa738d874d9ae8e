"""A user of whom nothing is known but answers to questions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.channels import Elicitation
from tfrs_twotower.errors import DataError, invalid
from tfrs_twotower.exporting import Retriever
from tfrs_twotower.pipeline.answers import frame_of, titled
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.requests import as_ids
from tfrs_twotower.pipeline.searching import people


class Stranger:
    """Asks a stranger about items, and recommends by the answers.

    Args:
      assembly: the `Assembly` that is served.
      retriever: its `Retriever`.
      likes, dislikes: ids of items that the person said to like, and not to like.
      asked: ids of further items that are not asked about, as the person does not know them.

    Raises:
      DataError: an item is not in the catalogue.
    """

    def __init__(
        self, assembly: Assembly, retriever: Retriever, likes: Sequence[Any] = (), dislikes: Sequence[Any] = (),
        asked: Sequence[Any] = (),
    ) -> None:
        self._assembly, self._retriever = assembly, retriever
        self._ids = assembly.log.items[c.ITEM_ID].take(assembly.catalogue).combine_chunks()
        self._elicitation = Elicitation(
            *people(assembly), retriever.vectors.numpy(), assembly.log_popularity, float(retriever.scale),
            retriever.popularity_weight,
        )
        self._answers: dict[bool | None, list[int]] = {True: [], False: [], None: []}
        for liked, ids in ((True, likes), (False, dislikes), (None, asked)):
            for item in ids:
                self.answer(item, liked)

    def questions(self, n: int = 1) -> pd.DataFrame:
        """The next questions: at most n, best first, in a frame with `item_id`, `information` (bits) and the title."""
        found = self._elicitation.questions(n, *(np.array(rows, int) for rows in self._answers.values()))
        ids = self._ids.take([row for row, _ in found]).to_pylist()
        frame = pd.DataFrame({c.ITEM_ID: ids, "information": [worth for _, worth in found]})
        return titled(frame, self._assembly.log, self._assembly.recipe.title)

    def answer(self, item_id: Any, liked: bool | None) -> None:
        """Takes an answer: does the person like the item? None: the person does not know it."""
        row = pc.index_in(as_ids([item_id], self._assembly.log.items, c.ITEM_ID), value_set=self._ids)[0].as_py()
        if row is None:
            raise DataError(invalid("item_id", "be in the catalogue", item_id, "Answer with an item of `questions`."))
        for rows in self._answers.values():
            if row in rows:
                rows.remove(row)
        self._answers[liked].append(row)

    def recommend(self, k: int = 10) -> pd.DataFrame:
        """The best k items by the answers so far, without those: a frame as of `Recommender.recommend`, of no user."""
        told = [row for liked in (True, False) for row in self._answers[liked]]
        vector = self._elicitation.vector(np.array(self._answers[True], int), np.array(self._answers[False], int))
        ids = tf.reshape(tf.gather(self._retriever.item_ids, tf.constant(told, tf.int32)), [1, -1])
        ids, scores = self._retriever.recommend_by_vector(
            tf.constant(vector[np.newaxis]), tf.constant(k), ids, ids[:, :0], tf.constant(0.0)
        )
        return titled(frame_of(ids, scores), self._assembly.log, self._assembly.recipe.title)
