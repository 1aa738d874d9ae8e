"""Tables of vectors that NumPy and TensorFlow share, so that those of a large catalogue are in memory once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

_ALIGNED = 64  # bytes: a tensor begins at a multiple of it


def empty_table(shape: Sequence[int], dtype: npt.DTypeLike) -> np.ndarray:
    """An array to be filled, [*shape], that begins where a tensor may: those of NumPy begin at 16 bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + _ALIGNED, np.uint8)
    start = -memory.ctypes.data % _ALIGNED
    return memory[start: start + size].view(dtype).reshape(shape)


def as_tensor(values: np.ndarray) -> tf.Tensor:
    """The array as a tensor. A whole one of `empty_table` is not copied, so it must stay as it is from then on.

    `tf.constant` copies it, and for a moment twice. A GPU needs a copy of its own. Arrays of others are copied, also if
    they begin where a tensor may: whoever made them may change them.
    """
    memory = values.base
    ours = isinstance(memory, np.ndarray) and memory.dtype == np.uint8 and memory.nbytes == values.nbytes + _ALIGNED
    shared = ours and values.size and values.flags.c_contiguous and values.flags.writeable
    if not shared or tf.config.list_logical_devices("GPU"):
        return tf.constant(values)
    return tf.experimental.dlpack.from_dlpack(values.__dlpack__())
