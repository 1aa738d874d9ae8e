"""YouTube's sampling-bias-corrected retrieval (Yi et al. 2019) on MovieLens-100K: trained as from a stream.

    twotower train youtube_sbc

The query is a seed, what the user watches now, and the history; both towers share the films' vectors. The seed is the
newest event, with its channel; MovieLens has the films' genres in place of one. On another log, name the column of the
channel in `derived.query`: `History(length=1, categories=("channel",))`. The loss is the in-batch softmax, corrected by
the streaming estimate of the films' frequencies. Batches come in the order of time, shuffled only within windows of
eight batches, as they would from a day's log. The stream is played several times, since MovieLens is small. It takes
about two minutes on two cores.
"""

import dataclasses

from tfrs_twotower.features import Derived, History, Id, MultiValue, Number, Schema, Text
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recipes import movielens
from tfrs_twotower.sampling import InBatch, StreamingLogQ
from tfrs_twotower.towers import MLP


def recipe() -> Recipe:
    """The recipe."""
    base = movielens.recipe()
    now, past = History(length=1, pooling="mean"), History(length=50, pooling="decay", half_life_days=30.0)
    seed = dataclasses.replace(now, categories=("movie_genres",))
    return dataclasses.replace(
        base,
        name="youtube_sbc",
        schema=Schema(
            query=(seed, past),
            candidate=(
                Id("item_id"),
                Text("movie_title", analyser="words"),
                MultiValue("movie_genres"),
                Number("release_year", transform="bucketise"),
            ),
        ),
        derived=Derived(query=(now, past), user_id=False),
        model=ModelConfig(
            query_encoder=MLP(widths=(128,), dropout=0.3),
            candidate_encoder=MLP(widths=(128,), dropout=0.3),
            negatives=(InBatch(),),
            logq=StreamingLogQ(),
        ),
        training=dataclasses.replace(base.training, order="time", shuffle_buffer=8192),
    )
