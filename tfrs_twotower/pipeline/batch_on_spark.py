"""A batch on Spark: each shard is a task, which asks the exported model."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.data import Spark, has_log, read_log
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.exporting import integrity
from tfrs_twotower.exporting.publishing import versions_under
from tfrs_twotower.pipeline.batch import MODEL, Batch, write_shard
from tfrs_twotower.pipeline.requests import Live

if TYPE_CHECKING:
    from tfrs_twotower.serving.model import LoadedModel


@dataclasses.dataclass(frozen=True)
class OnSpark:
    """The `ShardWriter` of a cluster.

    Attributes:
      spark: its configuration.
      log: the folder of the log that the run keeps. The tasks map it.
      export: a function that exports the served model under a folder. A batch that continues uses the same export.
    """

    spark: Spark
    log: Path
    export: Callable[[Path], Path]

    def write(self, batch: Batch, folder: Path, numbers: Sequence[int], advance: Callable[[int], Any]) -> None:
        """As `ShardWriter` says. It advances once, at the end: Spark shows the progress of its tasks itself.

        Raises:
          ConfigError: the run does not keep its log.
        """
        if not has_log(self.log):
            way_out = "An earlier version trained the run. Write the batch on this machine, or train the run again."
            raise ConfigError(invalid("engine", "have the log in the run's folder", str(self.log), way_out))
        root = folder / MODEL
        if not versions_under(root):
            self.export(root)
        model = root / str(versions_under(root)[-1])
        task = functools.partial(
            _shard, str(self.log.absolute()), str(model), str(integrity.identity(model)), batch, str(folder)
        )
        advance(sum(self.spark.each(task, numbers)))


class _Exported:
    """An export as an `Answerer`."""

    def __init__(self, model: "LoadedModel") -> None:
        self._model, self.item_ids, self.vectors = model, model.root.item_ids, model.root.vectors

    def recommend(
        self, features: Mapping[str, tf.Tensor], k: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor,
        popularity_beta: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        found = self._model.signature()({
            **features, c.K: k, c.EXCLUDE_IDS: exclude_ids, c.ALLOW_IDS: allow_ids, c.POPULARITY_BETA: popularity_beta,
        })
        return found[c.IDS], found[c.SCORES]

    def embed_query(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return self._model.signature(c.EMBED_QUERY)(features)[c.EMBEDDING]


@functools.lru_cache(maxsize=1)
def _loaded(log: str, model: str, identity: str) -> tuple[Live, _Exported]:
    """The log and the model, once in a process of an executor.

    identity: the model's. A process may outlive its batch, and meet another model in the same folder.
    """
    from tfrs_twotower.serving import load_export  # imports the server, whose extra the driver may lack

    found = load_export(model)
    asked = found.signature()
    inputs = {name: asked.inputs[name] for name in found.query_inputs}
    return Live(read_log(log)[0], inputs, found.histories, found.manifest.get("searches", 0)), _Exported(found)


def _shard(log: str, model: str, identity: str, batch: Batch, folder: str, number: int) -> int:
    return write_shard(*_loaded(log, model, identity), batch, Path(folder), number)
