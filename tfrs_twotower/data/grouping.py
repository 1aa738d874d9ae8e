"""Positions by group, by counting: on a log of millions of events many times as fast as a sort."""

import numpy as np
from scipy import sparse

from tfrs_twotower.data.blocks import positions


def grouped(groups: np.ndarray, count: int) -> np.ndarray:
    """int32 [n] (int64 from 2³¹ on): the positions of group 0, then those of group 1, …, each group's ascending.

    Args:
      groups: int [n], from 0 to `count` − 1
      count: of the groups
    """
    n = len(groups)
    return sparse.csr_array((np.ones(n, bool), (groups, positions(n))), shape=(count, n)).indices
