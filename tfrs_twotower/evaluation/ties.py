"""The random order of candidates with equal scores: a function of query and candidate alone."""

import random

import numpy as np


def drawn_places(rows: np.ndarray, columns: np.ndarray, own: np.ndarray, tied: np.ndarray) -> np.ndarray:
    """int64 [positives]: places from 0 on among the `tied` candidates of the same score, different for each positive.

    rows, columns: query and candidate of each positive.
    """
    drawn = _hashed(rows, columns)
    places = (drawn * np.maximum(tied, 1)).astype(np.int64)
    order = np.lexsort((own, rows))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (rows[order][1:] != rows[order][:-1]) | (own[order][1:] != own[order][:-1])
    begins = np.append(np.flatnonzero(fresh), len(order))
    for group in np.flatnonzero(np.diff(begins) > 1):  # several targets of the same score
        members = order[begins[group]: begins[group + 1]]
        if tied[members[0]]:  # 0: all are beyond the best `values`
            sample = random.Random(float(drawn[members[0]])).sample(range(tied[members[0]]), len(members))
            places[members] = sample
    return places


def _hashed(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """float64 in [0, 1) of each pair, by SplitMix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + columns.astype(np.uint64) + np.uint64(1)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
