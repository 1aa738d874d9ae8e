"""How far the values of two samples are apart."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon

_BINS = 10
_CATEGORIES = 50  # the most frequent ones of training; the others count as one


def compare(trained: Sequence[Any], served: Sequence[Any], users: tuple[int, int] | None = None) -> dict[str, float]:
    """Distances of two samples of one feature. None is a missing value.

    Numbers are put into the ten quantile bins of the trained ones; text and truth values are categories.

    Args:
      trained, served: the values.
      users: of how many users each sample is, at least one. Values of a user are alike, so a sample counts as one of
        so many observations. None: all values are independent.

    Returns:
      `psi`: the population stability index Σ (p − q) ln(p / q), with half an observation added to each bin. Below 0.1
      nothing has changed, above 0.25 much has, by the usual rule. `noise`: the index that two samples of one
      distribution stay below in 95 of 100 cases, by χ² (Yurdakul, Naranjo, Journal of Risk Model Validation 2020).
      `js`: the Jensen–Shannon distance, from 0 to 1. `ks`, of numbers: the Kolmogorov–Smirnov statistic, from 0 to 1.
      `missing`: the share of missing values, served less trained.
    """
    present = [[v for v in values if v is not None] for values in (trained, served)]
    shares = [1 - len(kept) / max(1, len(values)) for kept, values in zip(present, (trained, served))]
    found = {"missing": shares[1] - shares[0]}
    if not present[0] or not present[1]:
        return found
    numeric = all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in present[0][:100])
    if numeric:
        first, second = (np.asarray(values, float) for values in present)
        found["ks"] = float(stats.ks_2samp(first, second, method="asymp").statistic)
        edges = np.unique(np.quantile(first, np.linspace(0, 1, _BINS + 1)[1:-1]))
        counts = [np.bincount(np.searchsorted(edges, values, "right"), minlength=len(edges) + 1)
                  for values in (first, second)]
    else:
        counts = _categories(*present)
    sizes = [min(len(values), most) for values, most in zip(present, users or map(len, present))]
    p, q = ((count + 0.5) / (count + 0.5).sum() for count in
            (count * size / count.sum() for count, size in zip(counts, sizes)))
    found["psi"] = float(stats.entropy(p, q) + stats.entropy(q, p))
    bins = np.count_nonzero(counts[0] + counts[1])
    found["noise"] = float(stats.chi2.ppf(0.95, max(bins - 1, 1)) * sum(1 / size for size in sizes))
    found["js"] = float(jensenshannon(*counts, base=2))
    return found


def _categories(first: Sequence[Any], second: Sequence[Any]) -> list[np.ndarray]:
    """The counts of the categories of training, the most frequent first, then of all others."""
    tallies = [Counter(map(str, values)) for values in (first, second)]
    names = [name for name, _ in tallies[0].most_common(_CATEGORIES)]
    return [np.array([*(tally[name] for name in names), tally.total() - sum(tally[name] for name in names)], float)
            for tally in tallies]
