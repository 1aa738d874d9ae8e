"""Rows of a table in a checkpoint, read without the others."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.training.checkpoint_rows import rows_of


def test_they_are_those_that_tensorflow_reads(tmp_path):
    """Of so many tensors that the index has several blocks, which have 256 KiB."""
    path, places = str(tmp_path / "ckpt"), np.array([2, 0, 2])
    tables = {f"{i:03}{'long' * 200}": np.full([3, 2], i, np.float32) for i in range(700)}
    tables |= {"whole": np.arange(12).reshape(6, 2), "half": tf.ones([4, 3], tf.bfloat16).numpy()}
    tf.raw_ops.SaveV2(prefix=path, tensor_names=list(tables), shape_and_slices=[""] * len(tables),
                      tensors=list(tables.values()))
    assert (tmp_path / "ckpt.index").stat().st_size > 2**19
    for name in (*list(tables)[::100], list(tables)[699], "whole", "half"):
        found = rows_of(path, name, places)
        assert found.dtype == tables[name].dtype
        np.testing.assert_array_equal(found, tables[name][places])
    with pytest.raises(KeyError, match="none"):
        rows_of(path, "none", places)


def test_a_table_that_was_saved_in_parts(tmp_path):
    path, table = str(tmp_path / "ckpt"), np.arange(8, dtype=np.float32).reshape(4, 2)
    tf.raw_ops.SaveV2(prefix=path, tensor_names=["t", "t"], shape_and_slices=["4 2 0,2:-", "4 2 2,2:-"],
                      tensors=[table[:2], table[2:]])
    assert rows_of(path, "t", np.array([3, 1])).tolist() == [[6, 7], [2, 3]]
