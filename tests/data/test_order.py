import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_twotower.data import Batches, batch_count
from tfrs_twotower.errors import DataError

N, BATCH_SIZE, BUFFER = st.integers(1, 300), st.integers(1, 40), st.integers(1, 80)


def rows(*args, **kwargs):
    return [batch.tolist() for batch in Batches(*args, **kwargs)]


@settings(max_examples=60, deadline=None)
@given(n=N, batch_size=BATCH_SIZE, buffer=BUFFER, epoch=st.integers(0, 3))
def test_every_row_at_most_once_and_only_the_remainder_is_dropped(n, batch_size, buffer, epoch):
    order = rows(n, batch_size, 5, epoch, buffer)
    flat = sum(order, [])
    assert len(order) == batch_count(n, batch_size)
    assert len(set(flat)) == len(flat) and set(flat) <= set(range(n))
    assert len(flat) == (n if n < batch_size else n - n % batch_size)


@settings(max_examples=60, deadline=None)
@given(n=N, batch_size=BATCH_SIZE, buffer=BUFFER, data=st.data())
def test_batches_may_be_read_in_any_order(n, batch_size, buffer, data):
    whole, order = rows(n, batch_size, 5, 1, buffer), Batches(n, batch_size, 5, 1, buffer)
    for i in data.draw(st.permutations(range(len(whole)))):
        assert order[i].tolist() == whole[i]
    with pytest.raises(IndexError, match="`i` must be a batch"):
        order[len(whole)]


def test_equal_seeds_and_epochs_give_equal_orders_and_others_do_not():
    first = rows(1000, 10, 1, 0, 200)
    assert rows(1000, 10, 1, 0, 200) == first
    assert rows(1000, 10, 1, 1, 200) != first
    assert rows(1000, 10, 2, 0, 200) != first


def test_few_rows_are_shuffled_uniformly():
    """All 24 orders of 4 rows come about as often: of 2,400 epochs 100 each; 60 is 4 deviations off."""
    counts = {}
    for epoch in range(2400):
        order = tuple(rows(4, 4, 0, epoch, 4)[0])
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24 and min(counts.values()) > 60 and max(counts.values()) < 140


def test_a_small_buffer_still_mixes_far_rows_and_holds_only_a_window():
    order = np.array(sum(rows(10_000, 100, 3, 0, 1600), []))
    windows = order[:9600].reshape(6, 1600)
    # A window holds blocks of 100 neighbours from all over the log: 16 whole ones.
    assert all(len(np.unique(window // 100)) == 16 for window in windows)
    assert all(np.ptp(window) > 5000 for window in windows)
    # Within it the rows are mixed: neighbours in the order are seldom neighbours in the log.
    assert np.mean(np.abs(np.diff(windows, axis=1)) == 1) < 0.01


@pytest.mark.parametrize("wrong", [
    {"n": -1}, {"batch_size": 0}, {"buffer": 0}, {"seed": -1}, {"epoch": -1},
])
def test_arguments_are_checked_before_the_first_batch(wrong):
    arguments = {"n": 10, "batch_size": 2, "seed": 0, "epoch": 0, "buffer": 4, **wrong}
    with pytest.raises(DataError, match=next(iter(wrong))):
        Batches(**arguments)


def test_no_rows_no_batches():
    assert rows(0, 4, 0, 0, 4) == []
