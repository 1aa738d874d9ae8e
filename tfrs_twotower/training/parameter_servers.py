"""Training with tables that no single machine holds: parameter servers keep parts of them, workers take steps."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfrs_twotower.errors import ConfigError, TrainingError, invalid
from tfrs_twotower.models import TwoTowerModel
from tfrs_twotower.training.config import TrainingConfig

if TYPE_CHECKING:  # they import this module
    from tfrs_twotower.training.batches import TrainingBatches
    from tfrs_twotower.training.sequences import SequenceBatches

_PART_BYTES = 256 * 1024
_AHEAD = 64  # steps handed out before all are waited for: the largest number of batches in memory


def strategy() -> tf.distribute.ParameterServerStrategy:
    """A `ParameterServerStrategy` for the cluster in the environment's TF_CONFIG, whose `chief` calls it."""
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    servers = len(resolver.cluster_spec().as_dict().get("ps", ()))
    return tf.distribute.ParameterServerStrategy(resolver, in_parts(servers))


def in_parts(servers: int) -> Callable[..., list[int]]:
    """A variable partitioner: tables are split by rows over the servers; what is less than 512 KiB stays whole.

    Vocabularies, which are searched as a whole, and vectors are never split.
    """
    split = tf.distribute.experimental.partitioners.MinSizePartitioner(_PART_BYTES, servers)

    def partition(shape: tf.TensorShape, dtype: tf.DType, **kwargs: Any) -> list[int]:
        table = shape.rank == 2 and dtype.is_floating
        return split(shape, dtype, axis=0) if table else [1] * shape.rank

    return partition


def is_server() -> bool:
    """Whether this process is a `ps` or a `worker` of the cluster in TF_CONFIG, which work for its `chief`."""
    return tf.distribute.cluster_resolver.TFConfigClusterResolver().task_type in ("ps", "worker")


def serve() -> None:
    """Runs this process as the `ps` or `worker` of TF_CONFIG. It does not return: end the process."""
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    cluster = resolver.cluster_spec()
    # A server answers its workers and the chief at once; with too few threads, they would wait for each other.
    threads = max(os.cpu_count() or 1, len(cluster.as_dict().get("worker", ())) + 2)
    settings = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=threads)
    tf.distribute.Server(cluster, resolver.task_type, resolver.task_id, protocol="grpc", config=settings).join()


def asynchronous() -> bool:
    """Whether this is the scope of a `ParameterServerStrategy`, whose workers do not wait for each other."""
    return isinstance(tf.distribute.get_strategy(), tf.distribute.ParameterServerStrategy)


def check(config: TrainingConfig) -> None:
    """Refuses settings that follow the weights from step to step.

    Args:
      config: a `TrainingConfig`.

    Raises:
      ConfigError: `average` or `precision` does.
    """
    way_out = "Leave it out, or train by --distribute workers."
    if config.average:
        rule = "be 0 with parameter servers, as no one sees the weights after each step"
        raise ConfigError(invalid("training.average", rule, config.average, way_out))
    if config.precision == "float16":
        rule = "not be float16 with parameter servers, as its scale follows from step to step"
        raise ConfigError(invalid("training.precision", rule, config.precision, way_out))


@contextlib.contextmanager
def servers_needed() -> Iterator[None]:
    """Turns the loss of a parameter server into an error with a way out. The step of a lost worker goes to another one.

    Raises:
      TrainingError: a server died, or came back without its weights.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise TrainingError(
            f"A parameter server died, and its part of the weights with it ({error.message.partition(chr(10))[0]}). "
            "End all tasks of the cluster and start them again by the same command, with the same --folder: training "
            "goes on from the last checkpoint."
        ) from error


def fit_in_turn(
    model: TwoTowerModel, data: "TrainingBatches | SequenceBatches", step: int, stop: int, checkpoint_steps: int,
    callbacks: Sequence[tf.keras.callbacks.Callback],
) -> None:
    """Trains steps `step` … `stop` − 1, as `model.fit` would: each by the next worker that is free.

    This process, the chief, reads the batches and hands them out; draws and data are those of one device.
    Workers don't wait for each other: a step may begin with weights that lack the latest steps of others, and a row's
    in-batch negatives are those of its own batch. All handed-out steps are done when a checkpoint is written and
    when an epoch ends.

    Args:
      model: a compiled `TwoTowerModel` with weights, made in the strategy's scope.
      data: a `TrainingBatches` or `SequenceBatches`.
      step, stop: global steps.
      checkpoint_steps: of the `TrainingConfig`.
      callbacks: Keras callbacks; they are called for a step when it is handed out.
    """
    devices, per_epoch = tf.distribute.get_strategy(), data.steps_per_epoch
    coordinator = tf.distribute.coordinator.ClusterCoordinator(devices)
    run = tf.function(lambda batch: devices.run(model.train_step, args=(batch,)), reduce_retracing=True)

    def tell(event: str, *args: Any) -> None:  # Keras' own list of callbacks refuses those that hear of steps
        for callback in callbacks:
            getattr(callback, event)(*args)

    tell("set_model", model)
    tell("on_train_begin")
    while step < stop and not model.stop_training:
        epoch, at = divmod(step, per_epoch)
        model.reset_metrics()
        tell("on_epoch_begin", epoch)
        for batch in data.dataset(step, min(stop, (epoch + 1) * per_epoch)):
            tell("on_train_batch_begin", at)
            coordinator.schedule(run, args=(batch,))
            step, at = step + 1, at + 1
            if step % _AHEAD == 0 or step % checkpoint_steps == 0 or at == per_epoch:
                coordinator.join()
            tell("on_train_batch_end", at - 1)
        logs = {"loss": float(model.mean_loss.result())}
        tell("on_epoch_end", epoch, logs)
    tell("on_train_end")
