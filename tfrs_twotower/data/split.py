"""Splits: the events that train, and the queries that evaluate."""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, ClassVar, Literal

import numpy as np

from tfrs_twotower.configuration import config
from tfrs_twotower.data.blocks import positions
from tfrs_twotower.data.grouping import grouped
from tfrs_twotower.data.log import InteractionLog
from tfrs_twotower.data.queries import Queries, QueryBuilder, distinct
from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import ConfigError, DataError, NothingNew
from tfrs_twotower.ranges import Above, Below


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Training rows and two sets of queries.

    Attributes:
      train: int32 or int64: log rows, ascending
      validation, test: Queries
      past: int64: other log rows, ascending, that an earlier training learned from. Vocabularies, item counts and the
        catalogue are those of `past` and `train`. None without an earlier training
      left_out: int64: log rows that no training uses: second copies of events
    """

    train: np.ndarray
    validation: Queries
    test: Queries
    past: np.ndarray | None = None
    left_out: np.ndarray | tuple = ()

    @functools.cached_property
    def known(self) -> np.ndarray:
        """int64: all log rows that training may use, ascending."""
        if self.past is None:
            return self.train
        return np.sort(np.concatenate([self.past, self.train]), kind="stable")  # quick, as both ascend

    def whole(self, events: int) -> Split:
        """The split of a refit: all `events` of the log but the `past` ones train, and there are no queries."""
        past = () if self.past is None else self.past
        train, others = positions(events), np.union1d(past, self.left_out)
        train = np.setdiff1d(train, others) if len(others) else train  # it would sort all events
        return dataclasses.replace(self, train=train, validation=Queries.none(), test=Queries.none())


class Splitter:
    """Base of the splits.

    Attributes:
      reads_times: whether it needs times or their order. Some logs have none.
      mixed: whether held-out events lie among the training events in time. Histories then show training events alone.
    """

    reads_times: ClassVar[bool] = True
    mixed: ClassVar[bool] = False

    def split(self, log: InteractionLog, seed: int = 0) -> Split:
        """Splits an `InteractionLog`; returns a `Split`. `seed` is that of random draws.

        Raises:
          DataError: the log is too small to split.
        """
        raise NotImplementedError


@config
class Temporal(Splitter):
    """Two moments cut the log for all users alike: train | validation | test.

    Every event before the first cut trains. Events of a cut's own second are all after it. Each user with
    events in a window gives one query, at the first of them.

    Attributes:
      validation, test: fractions of the events, by time
      targets: "all": the user's distinct items in the window; "last": one query at the user's last event of the
        window, with its item; "each": one query for every event of the window, with its item
    """

    validation: float = 0.1
    test: float = 0.1
    targets: Literal["all", "last", "each"] = "all"

    def __post_init__(self) -> None:
        _check_fractions(self)

    def split(self, log: InteractionLog, seed: int = 0) -> Split:
        """Returns Split; `seed` is not used. Raises `DataError` when no event is left for a part."""
        _check_events(log)
        cuts = [_cut(log.timestamp, 1 - self.test - self.validation), _cut(log.timestamp, 1 - self.test)]
        builder = QueryBuilder(log)
        train, validation, test = np.split(positions(len(log)), cuts)
        return _checked(Split(train, self._queries(builder, validation), self._queries(builder, test)), self)

    def _queries(self, builder: QueryBuilder, rows: np.ndarray) -> Queries:
        if self.targets == "each":
            return builder.build(rows, rows)
        _, first, last = builder.spans(rows)
        return builder.build(last if self.targets == "last" else first, last)


@config
class Newest(Splitter):
    """The split of an update: the new events train, except the newest share, which evaluates.

    Each user with events in the newest share gives one query, at the first of them. These queries are both validation
    and test: they decide only whether to publish.

    Attributes:
      since: seconds since 1970: events from here on are new
      held_out: the newest fraction of these, for evaluation
      part: the part of the `Joined` source whose events are all new, so that late ones train too; None: no such part
    """

    since: int
    held_out: Annotated[float, Above(0), Below(1)] = 0.1
    part: int | None = None

    def split(self, log: InteractionLog, seed: int = 0) -> Split:
        """Returns Split; `seed` is not used. Raises `NothingNew` without new events, `DataError` of too few."""
        rows = np.arange(len(log))
        start = int(np.searchsorted(log.timestamp, self.since))
        again, late = log.again, rows[:0]  # copies of events that the earlier training knows
        if self.part is not None:
            new, of_part = log.new_in(self.part), log.part == self.part
            if not new.any():
                there = of_part.sum()
                said = (f"The log has all of the {there} new events already" if there else
                        "There is no new event that is a like")
                raise NothingNew(f"{said}. Name others.")
            late = rows[:start][new[:start]]
        since = rows[start:][~again[start:]]
        if not len(since):
            raise (DataError if len(late) else NothingNew)(
                f"There are no events from `since` {self.since} on, that is after the events of the earlier training. "
                f"Received: {len(log)} events, the last at {log.timestamp[-1] if len(log) else 'none'}. Name the new "
                "events. If a time is only the position of an event in its user's order, train anew on all of them."
            )
        cut = _cut(log.timestamp[since], 1 - self.held_out)
        builder = QueryBuilder(log)
        _, first, last = builder.spans(since[cut:])
        queries = builder.build(first, last)
        # Late events alone would end before the events of the earlier training.
        train = np.concatenate([late, since[:cut]]) if cut else rows[:0]
        past = np.setdiff1d(rows[:start][~again[:start]], late)
        return _checked(Split(train, queries, queries, past, np.flatnonzero(again)), self)


@config
class LeaveLastOut(Splitter):
    """Each user's last event is the test, the one before it validation, the rest trains.

    For comparison with papers. Users with fewer than three events only train.
    """

    def split(self, log: InteractionLog, seed: int = 0) -> Split:
        """Returns Split; `seed` is not used. Raises `DataError` when no user has three events."""
        _check_events(log)
        builder = QueryBuilder(log)
        ends = builder.starts[1:][np.diff(builder.starts) >= 3]
        test, validation = builder.order[ends - 1], builder.order[ends - 2]
        train = np.setdiff1d(np.arange(len(log)), np.concatenate([test, validation]))
        return _checked(Split(train, builder.build(validation, validation), builder.build(test, test)), self)


@config
class UserHeldOut(Splitter):
    """Some users train with all their events, the others with none.

    A held-out user gives one query, at a point of their own events: the events before it are the query's history, and
    the items after it are the targets.

    Attributes:
      validation, test: fractions of the users that have at least two events
      known: the fraction of a held-out user's events before the query; at least one event is before it and one after it
    """

    validation: float = 0.1
    test: float = 0.1
    known: Annotated[float, Above(0), Below(1)] = 0.8

    def __post_init__(self) -> None:
        _check_fractions(self)

    def split(self, log: InteractionLog, seed: int = 0) -> Split:
        """Returns Split; `seed` draws the users. Raises `DataError` when there are too few users."""
        _check_events(log)
        builder = QueryBuilder(log)
        users = np.flatnonzero(np.diff(builder.starts) >= 2)
        users = np.random.default_rng(seed).permutation(users)
        test = round(self.test * len(users))
        held = test + round(self.validation * len(users))
        train = np.flatnonzero(~np.isin(log.user, users[:held]))
        validation_users, test_users = np.sort(users[test:held]), np.sort(users[:test])
        validation, tested = (self._queries(builder, part) for part in (validation_users, test_users))
        return _checked(Split(train, validation, tested), self)

    def _queries(self, builder: QueryBuilder, users: np.ndarray) -> Queries:
        begin, end = builder.starts[users], builder.starts[users + 1]
        known = np.clip(np.round(self.known * (end - begin)).astype(np.int64), 1, end - begin - 1)
        return builder.build(builder.order[begin + known], builder.order[end - 1])


@config
class RandomHoldout(Splitter):
    """Random events are held out, whatever their time: the protocol of the TFRS tutorials.

    It lets a model train on events after a query, so use it only to compare with them. Each held-out event gives
    one query, whose target is its item. `seen` are all items of the user's training events, also of later ones.
    Histories must show training events only: `UserHistories(log, visible=...)`.

    Attributes:
      validation, test: fractions of the events
    """

    reads_times: ClassVar[bool] = False
    mixed: ClassVar[bool] = True
    validation: float = 0.1
    test: float = 0.2

    def __post_init__(self) -> None:
        _check_fractions(self)

    def split(self, log: InteractionLog, seed: int = 0) -> Split:
        """Returns Split; `seed` draws the events. Raises `DataError` when no event is left for a part."""
        _check_events(log)
        rows = np.random.default_rng(seed).permutation(len(log))
        test = round(self.test * len(log))
        held = test + round(self.validation * len(log))
        train = np.sort(rows[held:])
        parts = (self._queries(log, np.sort(part), train) for part in (rows[test:held], rows[:test]))
        return _checked(Split(train, *parts), self)  # type: ignore[arg-type]  # two of them: validation and test

    def _queries(self, log: InteractionLog, rows: np.ndarray, train: np.ndarray) -> Queries:
        user = log.user[rows]
        return Queries(
            user=user,
            timestamp=log.timestamp[rows],
            row=rows,
            targets=Ragged.from_lengths(log.item[rows], np.ones(len(rows), np.int64)),
            seen=_items_of_users(log, train).take(user),
        )


@config
class RandomPerUser(Splitter):
    """Random items of each user are held out: the split of a log without times.

    All events of one user with one item are on the same side, as repeats have no meaning without an order. Each user's
    items are put in random order; the first one always trains. A user's held-out items are the targets of one query.
    `seen` holds the user's training items, and for the test the validation items too. Histories must show training
    events only.

    Attributes:
      validation, test: fractions of the users' items, the first of each user not counted
    """

    reads_times: ClassVar[bool] = False
    mixed: ClassVar[bool] = True
    validation: float = 0.1
    test: float = 0.2

    def __post_init__(self) -> None:
        _check_fractions(self)

    def split(self, log: InteractionLog, seed: int = 0) -> Split:
        """Returns Split; `seed` draws the items. Raises `DataError` when no event is left for a part."""
        _check_events(log)
        pairs, pair = np.unique(log.user.astype(np.int64) * len(log.items) + log.item, return_inverse=True)
        drawn = np.random.default_rng(seed).permutation(len(pairs))
        first = np.unique(pairs[drawn] // len(log.items), return_index=True)[1]
        drawn = np.delete(drawn, first)
        test = round(self.test * len(drawn))
        held = test + round(self.validation * len(drawn))
        part = np.zeros(len(pairs), np.int8)
        part[drawn[:held]], part[drawn[:test]] = 1, 2
        part = part[pair]
        queries = (self._queries(log, np.flatnonzero(part == i), np.flatnonzero(part < i)) for i in (1, 2))
        return _checked(Split(np.flatnonzero(part == 0), *queries), self)  # type: ignore[arg-type]  # two of them

    def _queries(self, log: InteractionLog, rows: np.ndarray, known: np.ndarray) -> Queries:
        user, first = np.unique(log.user[rows], return_index=True)
        return Queries(
            user=user,
            timestamp=log.timestamp[rows[first]],
            row=rows[first],
            targets=_items_of_users(log, rows).take(user),
            seen=_items_of_users(log, known).take(user),
        )


def _items_of_users(log: InteractionLog, rows: np.ndarray) -> Ragged:
    """Distinct items of the log rows, in their order, as Ragged with a row for each user of the user table."""
    mine = rows[grouped(log.user[rows], len(log.users))]
    counts = np.bincount(log.user[rows], minlength=len(log.users))
    return distinct(log.item[mine], counts, len(log.items))


def _cut(timestamp: np.ndarray, fraction: float) -> int:
    """The first log row of the second in which the fraction of the events is exceeded."""
    row = min(round(fraction * len(timestamp)), len(timestamp) - 1)
    return int(np.searchsorted(timestamp, timestamp[row], side="left"))


def _check_fractions(split: Temporal | UserHeldOut | RandomHoldout | RandomPerUser) -> None:
    if not (0 <= split.validation < 1 and 0 < split.test < 1 and split.validation + split.test < 1):
        raise ConfigError(
            f"`validation` and `test` of {type(split).__name__} must be fractions that leave something to train on, "
            f"and `test` above 0. Received: validation={split.validation}, test={split.test}. Use for example 0.1 each."
        )


def _check_events(log: InteractionLog) -> None:
    if len(log) == 0:
        raise DataError("The log has no events to split.")


def _checked(
    split: Split, strategy: Temporal | Newest | LeaveLastOut | UserHeldOut | RandomHoldout | RandomPerUser
) -> Split:
    wants = [("train", True), ("validation", getattr(strategy, "validation", 1) > 0), ("test", True)]
    for part, wanted in wants:
        if wanted and len(getattr(split, part)) == 0:
            raise DataError(
                f"The log is too small to split, or too many of its events have one time: {strategy} leaves nothing "
                f"for `{part}`. Use more events, other fractions or another split."
            )
    return split
