import numpy as np
import pytest

from tfrs_twotower.data import ingest, synthetic
from tfrs_twotower.errors import DataError


def test_the_best_items_are_the_popular_ones_of_the_users_cluster():
    _, planted = synthetic(users=8, items=12, clusters=3, noise=0.1)
    best = planted.best(np.arange(8), 4)
    for user in range(8):
        mine = np.flatnonzero(planted.item_cluster == planted.user_cluster[user])
        assert sorted(best[user]) == sorted(mine)
        assert np.all(np.diff(planted.popularity[best[user]]) <= 0)
    assert np.allclose(planted.probabilities(np.arange(8)).sum(1), 1)


def test_the_log_is_drawn_from_what_was_planted():
    source, planted = synthetic(users=50, items=20, clusters=2, events=400, noise=0.2, seed=1)
    log, _ = ingest(source)
    # Rows are planted rows: the tables are written in their order.
    assert log.users["user_id"].to_pylist() == [f"u{u}" for u in range(50)]
    assert log.items["category"].to_pylist() == [f"category {c}" for c in planted.item_cluster]
    drawn = np.bincount(log.item, minlength=20) / len(log)
    expected = planted.probabilities(np.arange(50)).mean(0)
    # 20,000 draws: a standard error of at most .0036.
    assert np.abs(drawn - expected).max() < 0.02


def test_equal_seeds_give_equal_logs():
    prints = [ingest(synthetic(users=5, items=6, clusters=2, seed=s)[0])[0].fingerprint() for s in (3, 3, 4)]
    assert prints[0] == prints[1] != prints[2]


def test_more_clusters_than_items_is_an_error():
    with pytest.raises(DataError, match="clusters"):
        synthetic(users=10, items=3, clusters=4)
