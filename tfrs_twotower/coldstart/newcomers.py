"""A share of each answer for users of whom little is known, and which channel gets it."""

import json
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from tfrs_twotower.coldstart.exposures import Exposures
from tfrs_twotower.coldstart.policies import EpsilonGreedy, Thompson
from tfrs_twotower.configuration import config, from_dict
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.online import SqliteFile
from tfrs_twotower.ranges import MinLength, Positive, Share

_SHOWN = """
CREATE TABLE IF NOT EXISTS shown_by (
  user_id TEXT, item_id TEXT, channel TEXT NOT NULL, PRIMARY KEY (user_id, item_id)) WITHOUT ROWID
"""
_NO_CAP = 2**62


@config
class Newcomers:
    """The share of an answer that a channel gets: share · ½^(n / half_after) for a user with n events.

    Attributes:
      channels: names of channels. Of several, the policy chooses one for each request.
      share: the share for a user without events.
      half_after: the number of events after which the share is half as large.
      policy: chooses among several channels by the share of users who clicked an item that the channel showed them.
      counts: a file (SQLite) that keeps showings and clicks of several channels.
    """

    channels: Annotated[tuple[str, ...], MinLength(1)] = ("popular",)
    share: Share = 0.8
    half_after: Positive = 5.0
    policy: Thompson | EpsilonGreedy = Thompson()
    counts: str | None = None

    def __post_init__(self) -> None:
        if len(self.channels) > 1 and self.counts is None:
            raise ConfigError(invalid("counts", "name a file if there are several channels", None, "Name one."))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Newcomers":
        """That of a JSON file, an object of these attributes. Raises `ConfigError`."""
        try:
            given = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read ({error}). Write an object of JSON into it.") from error
        if not isinstance(given, dict):
            raise ConfigError(invalid(str(path), "hold an object", given, 'As {"channels": ["popular"]}.'))
        found: Newcomers = from_dict({**given, "type": "Newcomers"})
        return found

    def of(self, events: int) -> float:
        """The share of a user of so many events."""
        return float(self.share * 0.5 ** (events / self.half_after))


class ChannelCounts:
    """How many users each channel was shown to, and how many of them clicked. Threads and processes may share a file.

    All showings of a channel to one user are one trial, and all clicks of that user on items that it showed are one
    click. An item belongs to the channel that showed it to the user last.

    Args:
      path: the file; a missing one is made. Not the one of `--explore`, whose pool are items.
      channels: their names.
    """

    def __init__(self, path: str | os.PathLike[str], channels: Iterable[str]) -> None:
        self._counts, self._file = Exposures(path), SqliteFile(path)
        with self._file.transaction("opened") as connection:
            connection.execute(_SHOWN)
        names = set(channels)
        self._counts.add(names)
        self._counts.remove([name for name in self._counts.counts() if name not in names])

    def choose(self, policy: Thompson | EpsilonGreedy, user_id: str, random: np.random.Generator) -> str:
        """The channel for a request. It counts as shown to the user, if there is one."""
        chosen = []

        def first(names: list[str], shown: np.ndarray, clicked: np.ndarray) -> list[int]:
            row = int(policy.order(shown, clicked, random)[0][0])
            chosen.append(names[row])
            return [row] if user_id else []

        self._counts.show(user_id, _NO_CAP, first)
        return chosen[0]

    def shown(self, user_id: str, channel: str, items: Iterable[str]) -> None:
        """Notes that a channel showed items to a user. Without items, one that never showed them any has no trial."""
        items = list(items)
        if not items:
            query = "SELECT 1 FROM shown_by WHERE user_id = ? AND channel = ? LIMIT 1"
            if not self._file.read(query, [(user_id, channel)])[0]:
                self._counts.take_back(channel, user_id)
            return
        with self._file.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO shown_by VALUES (?, ?, ?)", [(user_id, item, channel) for item in items]
            )

    def click(self, pairs: Iterable[tuple[str, str]]) -> int:
        """Counts clicks, [(user id, item id)]; returns the number that counted: see `Exposures.click`."""
        pairs = list(pairs)
        found = self._file.read("SELECT channel FROM shown_by WHERE user_id = ? AND item_id = ?", pairs)
        return self._counts.click([(user, rows[0][0]) for (user, _), rows in zip(pairs, found) if rows])

    def counts(self) -> dict[str, tuple[int, int]]:
        """{channel: (users who were shown it, users who clicked)}."""
        return self._counts.counts()

    def close(self) -> None:
        """Closes the file."""
        self._counts.close()
        self._file.close()


class NewcomerShares:
    """`channels.Shares` by `Newcomers`. Threads may share one.

    Args:
      settings: a `Newcomers`.
      seed: of the draws; None draws one.
    """

    def __init__(self, settings: Newcomers, seed: int | None = None) -> None:
        self.settings, self.names = settings, settings.channels
        self.counts = ChannelCounts(settings.counts, settings.channels) if settings.counts else None
        self._random, self._lock = np.random.default_rng(seed), threading.Lock()

    def places(self, user_id: str, events: int, k: int, rest: str) -> dict[str, int]:
        """See `Shares`. A fraction of a place is given with its probability, so the share holds on average."""
        with self._lock:
            n = int(self.settings.of(events) * k + self._random.random())
            if not n:
                return {rest: k}
            channel = self.names[0]
            if self.counts is not None:
                channel = self.counts.choose(self.settings.policy, user_id, self._random)
        return {channel: k} if channel == rest else {channel: n, rest: k - n}

    def shown(self, user_id: str, channel: str, items: Sequence[str | int]) -> None:
        """See `Shares`."""
        if self.counts is not None and user_id and channel in self.names:
            self.counts.shown(user_id, channel, map(str, items))

    def close(self) -> None:
        """Closes the counts."""
        if self.counts is not None:
            self.counts.close()
