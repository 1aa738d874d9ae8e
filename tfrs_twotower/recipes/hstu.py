"""HSTU over the user's history (Zhai et al. 2024): what will a person rate next, given their ratings in order.

    make train RECIPE=hstu                                  or: twotower train hstu

MovieLens-100K, leave-last-out as in the papers; `--set 'source.version="1m"'` takes the million (hours, not
minutes). The query is the state of a causal encoder after the last event. It knows the pauses between events and the
moment of the request; `--set schema.query.0.request_time=false` removes that moment. Every event of every history
is a training target, against all films at once.
"""

from tfrs_twotower.data import LeaveLastOut, MovieLens
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.features import Derived, Id, MultiValue, Number, Schema, Sequence
from tfrs_twotower.losses import FullSoftmax
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.towers import HSTU, MLP
from tfrs_twotower.training import LazyAdamConfig, TrainingConfig


def recipe() -> Recipe:
    """The recipe."""
    past, item = Sequence(length=200), Id("item_id", dim=64, dropout=0.0)
    return Recipe(
        name="hstu",
        source=MovieLens("100k"),
        title="movie_title",
        split=LeaveLastOut(),
        schema=Schema(
            query=(past,),
            candidate=(item, MultiValue("movie_genres", dim=16), Number("release_year", transform="bucketise")),
        ),
        derived=Derived(query=(past,), candidate=(item,), user_id=False),
        model=ModelConfig(
            query_encoder=HSTU(blocks=2, heads=1, width=64, dropout=0.2),
            candidate_encoder=MLP(widths=()),
            loss=FullSoftmax(),
        ),
        training=TrainingConfig(
            batch_size=3200,  # events
            epochs=30,
            optimizer=LazyAdamConfig(learning_rate=0.002, beta_2=0.98),
            average=0.99,
            patience=4,
            known_positives=200,  # evaluation leaves out seen items, and so does training
        ),
        evaluation=EvaluationConfig(ks=(10, 50, 100, 200)),
    )
