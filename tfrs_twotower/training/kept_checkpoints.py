"""Which checkpoints lie in a folder: told by their files, not by TensorFlow's list of them, which can be torn."""

import re
from pathlib import Path

import tensorflow as tf

# The errors of a damaged checkpoint: TensorFlow's reader turns some of its own into Python's.
UNREADABLE = (tf.errors.OpError, ValueError, IndexError, KeyError, RuntimeError)
_INDEX = re.compile(r"ckpt-([0-9]+)\.index")


def kept_checkpoints(folder: str | Path) -> list[str]:
    """Paths of the checkpoints in a folder, as TensorFlow names them, the oldest first; [] where there are none.

    The list that TensorFlow keeps, a file `checkpoint`, counts for nothing: where that is torn, a training would begin
    anew beside checkpoints that are whole.
    """
    found = {int(match[1]): path for path in Path(folder).glob("ckpt-*") if (match := _INDEX.fullmatch(path.name))}
    return [str(found[number].with_suffix("")) for number in sorted(found)]


def newest_checkpoint(folder: str | Path) -> str | None:
    """The path of the newest checkpoint in a folder, or None."""
    return next(reversed(kept_checkpoints(folder)), None)


def discard_torn_first(folder: str | Path) -> None:
    """Removes a first checkpoint that a kill cut off while it was written, so that the training begins anew.

    TensorFlow makes its list once the first checkpoint is whole. So where a list lies, a checkpoint that cannot be
    read was damaged later; it stays, and is an error for its reader.
    """
    if (Path(folder) / "checkpoint").exists():
        return
    for path in kept_checkpoints(folder):
        try:
            tf.train.load_checkpoint(path)
        except UNREADABLE:
            Path(f"{path}.index").unlink(missing_ok=True)
