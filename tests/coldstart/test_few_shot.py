"""Steps on first events: by hand, and a start that is learned where all newcomers differ from their towers alike."""

import numpy as np

from tfrs_twotower.coldstart import FewShot, Reptile

ITEMS = np.eye(2, dtype=np.float32)


def test_a_step_by_hand():
    one = FewShot(ITEMS, 2.0, Reptile(steps=1, rate=0.5))
    user, first = np.array([[1.0, 0.0]]), ITEMS[1:]
    p = np.exp(2.0) / (np.exp(2.0) + 1)  # of item 0
    moved = user + 0.5 * np.array([[0 - p, 1 - (1 - p)]])
    np.testing.assert_allclose(one.adapted(user, first), moved / np.linalg.norm(moved), rtol=1e-6)
    still = FewShot(ITEMS, 2.0, Reptile(steps=0))
    np.testing.assert_allclose(still.adapted(user, first), user)


def test_the_start_takes_over_what_all_newcomers_share():
    """All towers say item 0, and all newcomers take item 1: the start alone turns their vectors round."""
    users, first = np.tile([[1.0, 0.0]], (50, 1)).astype(np.float32), np.repeat(ITEMS[1:], 50, axis=0)
    learned = FewShot(ITEMS, 2.0, Reptile(steps=3, rate=0.3))
    learned.learn(users, first)
    without_events = FewShot(ITEMS, 2.0, Reptile(steps=0))
    without_events.start = learned.start
    best = without_events.adapted(users[:1], first[:1])[0]
    assert best[1] > best[0]
    once, unlearned = Reptile(steps=1, rate=0.1), FewShot(ITEMS, 2.0, Reptile(steps=1, rate=0.1))
    quick = FewShot(ITEMS, 2.0, once)
    quick.start = learned.start
    assert quick.adapted(users[:1], first[:1])[0, 1] > unlearned.adapted(users[:1], first[:1])[0, 1]
