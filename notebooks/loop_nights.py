"""What is trained from the store alone: the first model, the updates of the night, the rows of users."""

import shutil
from pathlib import Path

import tfrs_twotower  # noqa: F401  (before TensorFlow)
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.features import Category, History, Id, ItemStatistic, Schema
from tfrs_twotower.index import IndexConfig
from tfrs_twotower.models import Repeats
from tfrs_twotower.online import Store
from tfrs_twotower.pipeline import runs
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.training import LazyAdamConfig, TrainingConfig
from tfrs_twotower.updates import update_full, update_users

NAME, CLICK = "groceries", "click"
FEATURES = ("department", "product_category", "product_type", "brand")


class Trainer:
    """Trains and publishes; each time is the end of the events that are read, in seconds since 1970.

    Args:
      folder: of the runs; those of this model are in `folder/groceries`.
      store: the address of the server's store.
      answers: the folder of its log of answers.
      items: the file of the item table; it may grow.
      yesterday: a folder for copies of the versions that were replaced.
      epochs, seed: of a training.
    """

    def __init__(self, folder, store, answers, items, yesterday, epochs, seed):
        self.folder, self.items, self._yesterday = Path(folder), items, Path(yesterday)
        self._store, self._answers, self._epochs, self._seed = store, str(answers), epochs, seed
        self.nights = []  # what the gate found

    @property
    def root(self):
        """The folder of the versions, which a server follows."""
        return self.folder / NAME / "latest" / runs.EXPORT

    def version(self):
        """The folder of the newest version that is published."""
        return max((self._run() / runs.EXPORT).glob("[0-9]*"), key=lambda path: int(path.name))

    def keep(self, version):
        """Makes a version yesterday's; a server of that folder sees it appear in one step."""
        copy = self._yesterday / version.name
        if not copy.exists():
            shutil.copytree(version, copy.with_name(f".{version.name}"))
            copy.with_name(f".{version.name}").rename(copy)

    def train(self, until):
        """From the beginning, on all events."""
        recommender = Recommender(self._recipe(until), directory=runs.create(self.folder, NAME)).fit(verbose=0)
        recommender.evaluate()
        recommender.refit(verbose=0)
        recommender.index()
        recommender.export()
        return "trained"

    def update(self, until):
        """The serving model, further, on the events since its training, of which the newest third is for the gate."""
        folder = runs.create(self.folder, NAME)
        update = update_full(self._run(), self._source(until), held_out=1 / 3, directory=folder, verbose=0)
        self.nights.append({"published": update.published is not None, "metric": update.monitor,
                            "serving": update.serving, "updated": update.updated, "interval": update.interval})
        said = "updated" if update.published else "update refused"
        return f"{said} ({update.monitor} {update.serving:.3f}, updated {update.updated:.3f})"

    def update_users(self, until):
        """The rows of users alone; returns whether there was anything to learn."""
        return update_users(self._run(), self._source(until)) is not None

    def _run(self):
        return (self.folder / NAME / "latest").resolve()

    def _source(self, until):
        return Store(self._store, (self._answers,), until=until, items_path=str(self.items), profiles=True)

    def _recipe(self, until):
        return Recipe(
            name=NAME, source=self._source(until),
            schema=Schema(
                query=(Id("user_id", dropout=0.2), History(length=20, dropout=0.2), Category("age", dim=8)),
                candidate=(Id("item_id", dropout=0.3), *(Category(name, dim=16) for name in FEATURES),
                           ItemStatistic("rate", event=CLICK, hours=(0,))),  # clicks each time it was shown
            ),
            model=ModelConfig(dim=32, repeats=Repeats()),  # no popularity: it would count how often an item was shown
            index=IndexConfig(kind="exact"),
            evaluation=EvaluationConfig(ks=(10,), exclude_seen=False, bootstrap=20, baseline_seconds=0),
            training=TrainingConfig(batch_size=64, epochs=self._epochs, seed=self._seed,
                                    optimizer=LazyAdamConfig(learning_rate=0.005)),
        )
