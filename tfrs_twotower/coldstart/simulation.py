"""Exploration on planted click rates: the regret against an oracle that knows them."""

import numpy as np
from numpy.typing import ArrayLike

from tfrs_twotower.coldstart.policies import Policy


def simulate(
    policy: Policy, rates: ArrayLike, rounds: int, cap: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Regret of a policy that shows one item per round.

    The oracle knows the rates and shows the best item, or with a cap the best one with showings left. The regret after
    t rounds is the sum of the oracle's rates minus the sum of the rates of the policy's items.

    Args:
      policy: a `Policy`.
      rates: float [m], the click rate of each item.
      rounds: their number; with a cap at most m · cap.
      cap: the largest number of showings of an item; None: no limit.
      seed: of clicks and draws.

    Returns:
      (regret: float64 [rounds], shown: int64 [m]).
    """
    rates, random = np.asarray(rates, np.float64), np.random.default_rng(seed)
    cap = rounds if cap is None else cap
    shown, clicked = np.zeros(len(rates), np.int64), np.zeros(len(rates), np.int64)
    gained = np.zeros(rounds)
    for t in range(rounds):
        pool = np.flatnonzero(shown < cap)
        rows, _ = policy.order(shown[pool], clicked[pool], random)
        item = pool[rows[0]]
        shown[item] += 1
        clicked[item] += random.random() < rates[item]
        gained[t] = rates[item]
    best = np.repeat(np.sort(rates)[::-1], cap)[:rounds]
    return np.cumsum(best - gained), shown
