"""What the data tests share."""

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.data import InteractionLog


@pytest.fixture
def make_log():
    """(user rows, item rows, timestamps) → a log; the events must be in time order."""

    def make(user, item, timestamp):
        users, items = max(user, default=-1) + 1, max(item, default=-1) + 1
        return InteractionLog(
            user=np.array(user, np.int32),
            item=np.array(item, np.int32),
            timestamp=np.array(timestamp, np.int64),
            weight=np.ones(len(user), np.float32),
            context=pa.table({}),
            users=pa.table({"user_id": pa.array([f"u{u}" for u in range(users)], pa.string())}),
            items=pa.table({"item_id": pa.array([f"i{i}" for i in range(items)], pa.string())}),
        )

    return make


@pytest.fixture
def random_log(make_log):
    """(events, users, items, seconds, seed) → a log with many ties in time."""

    def make(events=300, users=12, items=25, seconds=60, seed=0):
        rng = np.random.default_rng(seed)
        return make_log(
            rng.integers(0, users, events).tolist(),
            rng.integers(0, items, events).tolist(),
            np.sort(rng.integers(1, seconds, events)).tolist(),
        )

    return make
