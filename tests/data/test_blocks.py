"""Access in blocks: as in one."""

import numpy as np
import pytest

from tfrs_twotower.data import blocks


@pytest.fixture(autouse=True)
def blocks_of_three(monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK", 3)


def test_take():
    values = np.array([10, 20, 30], np.int64)
    found = blocks.take(values, np.array([2, 0, 0, 1, 2, 1, 1], np.int32), np.uint32)
    assert found.dtype == np.uint32 and found.tolist() == [30, 10, 10, 20, 30, 20, 20]
    assert blocks.take(values, np.zeros(0, np.int32)).dtype == np.int64


def test_places():
    found = blocks.places(np.array([3, 0, 4, 2, 1], np.int32))
    assert found.dtype == np.int32 and found.tolist() == [1, 4, 3, 0, 2]


def test_counts():
    found = blocks.counts(np.array([4, 0, 4, 1, 4, 0, 1], np.int32), 6)
    assert found.dtype == np.int64 and found.tolist() == [2, 2, 0, 0, 3, 0]


def test_positions():
    assert blocks.positions(3).tolist() == [0, 1, 2] and blocks.positions(3).dtype == np.int32


def test_parts():
    assert [part.tolist() for part in blocks.parts(np.arange(7))] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [part.tolist() for part in blocks.parts(np.arange(7), 5)] == [[0, 1, 2, 3, 4], [5, 6]]
    assert list(blocks.parts(np.arange(0))) == []
