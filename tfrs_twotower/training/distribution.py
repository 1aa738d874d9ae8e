"""Training on several devices: each device's rows, the chief, and common decisions."""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import tensorflow as tf

from tfrs_twotower.training import parameter_servers

_Result = TypeVar("_Result")


def strategy(kind: str | None) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy of a kind. It must be made before TensorFlow does anything else.

    Args:
      kind: "mirrored" (all GPUs of this machine), "workers" (this process is a worker of the cluster in the
        environment's TF_CONFIG), "servers" (it is the chief of one with parameter servers), or None (one device).
    """
    kinds = {
        None: tf.distribute.get_strategy,
        "mirrored": tf.distribute.MirroredStrategy,
        "workers": tf.distribute.MultiWorkerMirroredStrategy,
        "servers": parameter_servers.strategy,
    }
    return kinds[kind]()


def steps(start: int, stop: int, context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
    """A dataset of (step, part, parts) for the replicas that this process feeds, in the order of the replicas.

    Args:
      start, stop: global steps start … stop − 1.
      context: a `tf.distribute.InputContext`; None if one device takes whole batches.
    """
    parts = context.num_replicas_in_sync if context else 1
    mine = parts // context.num_input_pipelines if context else 1
    first = mine * context.input_pipeline_id if context else 0
    numbers = tf.data.Dataset.range(start * mine, stop * mine)
    return numbers.map(lambda i: (i // mine, first + i % mine, tf.constant(parts, tf.int64)))


def distributed(
    dataset_of: Callable[[tf.distribute.InputContext | None], tf.data.Dataset]
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """The input of `model.fit`: the dataset, or one for each process under a strategy.

    Args:
      dataset_of: (`tf.distribute.InputContext` or None) -> `tf.data.Dataset`.
    """
    if not tf.distribute.has_strategy():
        return dataset_of(None)
    return tf.distribute.get_strategy().distribute_datasets_from_function(dataset_of)


def part_of(rows: np.ndarray, part: int, parts: int) -> np.ndarray:
    """Part number `part` of `parts` consecutive parts, whose sizes differ by one row at most."""
    return rows[len(rows) * part // parts: len(rows) * (part + 1) // parts]


@dataclasses.dataclass(frozen=True, eq=False)
class WorkerShare:
    """The part of every batch that one worker trains on: the positives of its users.

    Attributes:
      workers: the number of workers.
      positives: the number of all workers' positives.
      places: int64, ascending: the places of this worker's positives among all of them.
    """

    workers: int
    positives: int
    places: np.ndarray

    def own(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of some places among all positives, those of this worker.

        Returns:
          (int64: their positions in `places`; int64: their positions in this worker's positives)
        """
        at = np.minimum(np.searchsorted(self.places, places), len(self.places) - 1)
        found = np.flatnonzero(self.places[at] == places)
        return found, at[found]


def worker() -> tuple[int, int]:
    """(this process's number, the number of processes) of those that train together, the chief first; else (0, 1)."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    if resolver is None or not resolver.task_type or parameter_servers.asynchronous():
        return 0, 1
    jobs = {job: resolver.cluster_spec().num_tasks(job) for job in resolver.cluster_spec().jobs}
    chiefs = jobs.get("chief", 0)
    return resolver.task_id + (chiefs if resolver.task_type == "worker" else 0), chiefs + jobs.get("worker", 0)


def without_strategy(function: Callable[[], _Result]) -> _Result:
    """Calls a function outside of the strategy's scope, so that its variables do not wait for other processes."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:  # a scope is that of one thread
        return thread.submit(function).result()


def is_chief() -> bool:
    """Whether this process writes the run: the only one, the cluster's chief, or its first worker if it has none."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    if resolver.task_type == "worker":
        return resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
    return resolver.task_type == "chief"


def of_chief(value: float) -> float:
    """The chief's value (a float), in every process. It returns when all processes have called it."""
    return float(chief_array(np.asarray(value, np.float64)))


def chief_array(value: np.ndarray) -> np.ndarray:
    """The chief's array, in every process; all call it with arrays of one shape and type of float."""
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return value

    found: np.ndarray = strategy.experimental_local_results(_of_first(strategy)(tf.constant(value)))[0].numpy()
    return found


@functools.lru_cache(maxsize=1)  # a process has one strategy; a function made for each call would be traced each time
def _of_first(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.distribute.DistributedValues]:
    """value → the value of the first replica, on every replica of the strategy."""

    def chosen(value: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        chief = tf.equal(replica.replica_id_in_sync_group, 0)
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(chief, value, tf.zeros_like(value)))

    @tf.function
    def first(value: tf.Tensor) -> tf.distribute.DistributedValues:
        return strategy.run(chosen, (value,))

    return first
