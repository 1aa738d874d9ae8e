"""Groceries (a sample of The Complete Journey): what will a household buy next. Needs no download.

    make train RECIPE=retail                                or: twotower train retail

Repeat purchases are the rule here, so a household's earlier products are not left out of its recommendations, and
`repeats` adds to their scores: the towers alone rank far below the list of what the household bought before.
The whole Complete Journey, or Online Retail, runs by the same recipe with other paths: see data/README.md.
"""

from pathlib import Path

from tfrs_twotower.data import Columns, Files
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.models import Repeats
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.training import TrainingConfig

_PACKAGE = Path(__file__).resolve().parents[1]


def sample(name: str) -> str:
    """The path of a file of the sample: inside an installed package, or in the `data/` of a checkout."""
    places = [_PACKAGE / "retail_sample" / name, _PACKAGE.parent / "data" / "retail" / name]
    return str(next((p for p in places if p.exists()), places[-1]))


def recipe() -> Recipe:
    """The recipe."""
    return Recipe(
        name="retail",
        source=Files(
            path=sample("transactions.parquet"),
            users_path=sample("households.parquet"),
            items_path=sample("products.parquet"),
            columns=Columns("household_id", "product_id", "timestamp", session="basket_id"),
        ),
        title="product_type",
        model=ModelConfig(popularity_weights=(0.0, 0.5, 1.0), repeats=Repeats()),
        evaluation=EvaluationConfig(exclude_seen=False),
        training=TrainingConfig(batch_size=1024, epochs=20),
    )
