"""Smoothed popularity: each item's share of the events, with one more event for every item."""

from collections.abc import Sequence

import numpy as np


def log_popularity(counts: np.ndarray | Sequence[int]) -> np.ndarray:
    """float64 [n]: log p(item), p(item) = (count + 1) / (all events + n), of event counts [n] of at least 0."""
    smoothed = np.asarray(counts, np.float64) + 1
    return np.log(smoothed) - np.log(smoothed.sum())
