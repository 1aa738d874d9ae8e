"""Tables that NumPy and TensorFlow share."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.evaluation import empty_table
from tfrs_twotower.evaluation.tables import as_tensor


def test_a_table_is_in_memory_once():
    for rows in range(1, 9):
        table = empty_table([rows, 3], np.float32)
        table[:] = np.arange(3)
        tensor = as_tensor(table)
        assert tensor.dtype == tf.float32 and tensor.shape == (rows, 3)
        if not tf.config.list_logical_devices("GPU"):
            assert np.shares_memory(np.asarray(tensor), table)
        del table
        np.testing.assert_array_equal(tensor, [[0, 1, 2]] * rows)  # the tensor holds the memory


def test_any_other_array_is_copied():
    table = empty_table([4, 4], np.float32)
    table[:] = np.arange(16).reshape(4, 4)
    fixed = table.copy()
    fixed.flags.writeable = False
    of_others = np.arange(64, dtype=np.float32)  # of which 48 begin where a tensor may
    aligned = of_others[-of_others.ctypes.data % 64 // 4:][:48].reshape(12, 4)
    for other in (table[1:], table.T, table[:, :2], fixed, table[:0], aligned):
        tensor = as_tensor(other)
        np.testing.assert_array_equal(tensor, other)
        assert not np.shares_memory(np.asarray(tensor), other)
