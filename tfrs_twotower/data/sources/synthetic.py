"""A made-up log whose right answer is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from tfrs_twotower.columns import ITEM_ID, TIMESTAMP, USER_ID
from tfrs_twotower.data.sources.frames import Frames
from tfrs_twotower.errors import DataError, invalid

_START = 1_600_000_000  # September 2020
_DAY = 86_400


@dataclasses.dataclass(frozen=True, eq=False)
class Planted:
    """The distributions that the generator drew from.

    Attributes:
      user_cluster: int64 [users]; item_cluster: int64 [items]
      popularity: float64 [items], sums to 1
      noise: the probability that an event ignores the user's cluster
    """

    user_cluster: np.ndarray
    item_cluster: np.ndarray
    popularity: np.ndarray
    noise: float

    def probabilities(self, users: np.ndarray) -> np.ndarray:
        """float64 [r, items]: the probability of each item at the next event of the users (rows)."""
        own = self.user_cluster[users][:, None] == self.item_cluster[None, :]
        liked = own * self.popularity
        return (1 - self.noise) * liked / liked.sum(1, keepdims=True) + self.noise * self.popularity

    def best(self, users: np.ndarray, k: int) -> np.ndarray:
        """int64 [r, k]: item rows, the most probable first. No model can expect to do better than these."""
        return np.argsort(-self.probabilities(users), axis=1, kind="stable")[:, :k]


def synthetic(
    users: int = 200, items: int = 100, clusters: int = 4, events: int = 40, noise: float = 0.1, zipf: float = 1.0,
    seed: int = 0,
) -> tuple[Frames, Planted]:
    """Users and items live in clusters; a user meets items of the own cluster by their popularity.

    User u is "u<row>", item i is "i<row>", both in row order. Features: `segment` of a user and `category` of
    an item are their clusters' names; `price` of an item and `age` of a user are noise.

    Args:
      users, items, clusters: counts; at least one item per cluster
      events: events per user, spread over 100 days
      noise: the fraction of events drawn from all items
      zipf: item popularity is 1 / rank^zipf, ranks drawn at random
      seed: equal seeds give equal logs

    Returns:
      (Frames, Planted)
    """
    if not 1 <= clusters <= min(users, items):
        rule = f"be from 1 to the number of users and of items, here {min(users, items)}"
        raise DataError(invalid("clusters", rule, clusters, "Lower it."))
    rng = np.random.default_rng(seed)
    popularity = rng.permutation(1 / np.arange(1, items + 1) ** zipf)
    planted = Planted(
        user_cluster=rng.permutation(np.arange(users) % clusters),
        item_cluster=rng.permutation(np.arange(items) % clusters),
        popularity=popularity / popularity.sum(),
        noise=noise,
    )
    user = np.repeat(np.arange(users), events)
    item = np.concatenate([_draw(rng, planted, u, events) for u in range(users)])
    timestamp = _START + rng.integers(0, 100 * _DAY, users * events)
    interactions = pa.table({USER_ID: _names("u", user), ITEM_ID: _names("i", item), TIMESTAMP: timestamp})
    user_table = pa.table({
        USER_ID: _names("u", np.arange(users)),
        "segment": _names("segment ", planted.user_cluster),
        "age": rng.integers(18, 80, users),
    })
    item_table = pa.table({
        ITEM_ID: _names("i", np.arange(items)),
        "category": _names("category ", planted.item_cluster),
        "price": np.round(rng.lognormal(2, 1, items), 2),
    })
    return Frames(interactions, user_table, item_table, name="synthetic"), planted


def _draw(rng: np.random.Generator, planted: Planted, user: int, events: int) -> np.ndarray:
    return rng.choice(len(planted.popularity), events, p=planted.probabilities(np.array([user]))[0])


def _names(prefix: str, rows: Iterable[int]) -> pa.Array:
    return pa.array([f"{prefix}{row}" for row in rows])
