"""Starting a model from the weights of an earlier one whose vocabularies have grown since."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrs_twotower.errors import TrainingError
from tfrs_twotower.features import Field, FingerprintLookup
from tfrs_twotower.models import TwoTowerModel
from tfrs_twotower.training.checkpoint_rows import rows_of
from tfrs_twotower.training.kept_checkpoints import UNREADABLE, newest_checkpoint

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# An update starts these anew: arrays as long as the item table, which `assemble` makes from the whole log, and the
# optimizer's clock. Each member of an ensemble has its own.
_ANEW = re.compile(
    r"model/(objective/(members/\d+/)?(negatives|hard)/|mean_loss/|optimizer/(_iterations|_learning_rate))"
)

# Missing in runs of 0.1.0: it keeps its initial value.
_NEWER = ("encoder/_start/state", "query_tower/start")


def warm_start(
    model: TwoTowerModel, directory: str | Path, rows: Sequence[tuple[tf.Variable, np.ndarray]] = ()
) -> None:
    """Copies the best weights of an earlier training into `model`, and its slots into the optimizer if it has one.

    A grown table gets its old rows, at their old positions. New rows keep their initial values, with slots of zero.
    These are not copied: step counter, learning rate, the streaming estimate of the candidates' frequencies
    (`assemble` computes it from earlier events), the queue of negatives.

    Args:
      model: a `TwoTowerModel` with its weights made, and its optimizer built if it has one.
      directory: the other training's checkpoint folder, with `best/`.
      rows: (a table of the model, int64: the rows of the earlier table that it begins with); other tables begin with
        all rows.

    Raises:
      TrainingError: there is no checkpoint, it cannot be read, or a weight of the model is not in it, or has another
        shape.
    """
    path = newest_checkpoint(Path(directory) / "best")
    if path is None:
        raise TrainingError(f"There is no checkpoint in {directory}/best. Name the folder of a finished training.")
    with _reading(path):
        reader = tf.train.load_checkpoint(path)
    kinds = reader.get_variable_to_dtype_map()
    for key, variable in _variables("model", model):
        if _ANEW.match(key):
            continue
        if not reader.has_tensor(key + _VALUE):
            if key.endswith(_NEWER):
                continue
            raise TrainingError(f"{path} has no `{key}`. Start from a training of the same recipe.")
        some = next((own for table, own in rows if table is variable), None)
        with _reading(path):
            if some is not None:
                value = tf.constant(rows_of(path, key + _VALUE, some))
            else:
                # Not by the reader's `get_tensor`: it copies a large table, and assigning the copy copies it again.
                value, = tf.raw_ops.RestoreV2(
                    prefix=path, tensor_names=[key + _VALUE], shape_and_slices=[""], dtypes=[kinds[key + _VALUE]]
                )
        _assign(key, variable, value)


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except (*UNREADABLE, OSError) as error:
        raise TrainingError(f"{path} cannot be read ({str(error).splitlines()[0]}). Train that run anew.") from error


def not_kept(model: tf.Module, path: str) -> list[str]:
    """The weights of a model that its checkpoint lacks, as a class was changed since. See `warm_start`."""
    reader = tf.train.load_checkpoint(path)
    missing = (key for key, _ in _variables("model", model) if not reader.has_tensor(key + _VALUE))
    return [key for key in missing if not key.endswith(_NEWER)]


def _assign(key: str, variable: tf.Variable, value: tf.Tensor) -> None:
    """Sets a variable, or its first rows if it has more rows than the value."""
    if value.shape == variable.shape:
        variable.assign(value)
    elif value.shape.rank and value.shape[1:] == variable.shape[1:] and value.shape[0] < variable.shape[0]:
        variable.assign(tf.concat([value, variable[value.shape[0]:]], axis=0))
    else:
        raise TrainingError(
            f"`{key}` cannot start from a value of shape {list(value.shape)}. Received: {list(variable.shape)}. "
            "Start from a training of the same recipe: its tables may only have grown."
        )


def _variables(name: str, root: tf.Module) -> Iterator[tuple[str, tf.Variable]]:
    """(key, variable) of all that a checkpoint of `root` holds: by the shortest path, as TensorFlow names them."""
    view = tf.train.TrackableView(root)
    seen, level = {id(root)}, [(name, root)]
    while level:
        below = []
        for path, node in level:
            if isinstance(node, tf.Variable):
                yield path, node
            for child_name, child in view.children(node).items():
                if id(child) not in seen and not _learned_before(node, child):
                    seen.add(id(child))
                    below.append((f"{path}/{_escaped(child_name)}", child))
        level = below


def _learned_before(node: object, child: object) -> bool:
    """Is this a part of a field's state? `load_state` and `grow` set it already, and may have changed it."""
    return isinstance(child, FingerprintLookup) or (
        isinstance(node, Field) and isinstance(child, tf.Variable) and not child.trainable
    )


def _escaped(name: str) -> str:
    return name.replace(".", "..").replace("/", ".S")
