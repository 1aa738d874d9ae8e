"""The weight of a training event, and how often an epoch shows it."""

from collections.abc import Iterable
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.configuration import config
from tfrs_twotower.data import InteractionLog, blocks, wide
from tfrs_twotower.errors import ConfigError, DataError, invalid, nearest
from tfrs_twotower.features import derive_seed
from tfrs_twotower.ranges import AtLeast, Count, Positive, Share

_DAY = 86400.0


@config
class EventWeights:
    """The weight of a training event in the loss: the product of the factors given here and the log's own weight.

    The loss of a batch is the weighted mean, so only the proportions within a batch count. An
    event of weight 0 is no positive, and no in-batch negative of others; histories still show it.

    Attributes:
      kinds: ((kind, weight), …) by the log's `event` column, such as (("click", 0.2), ("purchase", 1.0)). Other
        kinds weigh 1.
      dwell: a context column of seconds spent, or None. An event weighs min(dwell / full_dwell_seconds, 1); one
        without a dwell time, as a purchase, weighs 1. It is known only after the event: no feature of a query.
      full_dwell_seconds: from this dwell time on an event weighs 1.
      half_life_days: an event weighs half of one that is this many days newer; or None. With `order="time"` a
        batch holds events of one time, so it changes little.
    """

    kinds: tuple[tuple[str, float], ...] = ()
    dwell: str | None = None
    full_dwell_seconds: Positive = 60.0
    half_life_days: Annotated[Positive | None, "For no decay use null."] = None

    def __post_init__(self) -> None:
        names = [kind for kind, _ in self.kinds]
        if len(set(names)) < len(names) or not all(weight >= 0 for _, weight in self.kinds):
            rule = "name each kind once, its weight at least 0"
            raise ConfigError(invalid("EventWeights.kinds", rule, self.kinds, "0 leaves a kind out."))


@config
class Resampling:
    """How often an epoch shows an event, by n, the training events of its item: (pivot / n)^power times.

    With the defaults, events of popular items are shown less often, in proportion to n^−0.75 for each event.
    With `most` above 1, events of items rarer than `pivot` are shown several times. With `least` of 1 no event is
    left out. The fraction of a whole number is drawn anew each epoch. The model then learns the popularity in the
    shown events, and logQ corrects by it.

    Attributes:
      pivot: events of an item with this number of training events are shown once.
      power: 0 changes nothing; 1 shows all items equally often, within the bounds.
      least, most: bounds of the times that an event is shown, in an epoch's mean.
    """

    pivot: Annotated[Count, "It counts events."] = 10
    power: Share = 0.75
    least: Share = 0.0
    most: Annotated[float, AtLeast(1)] = 1.0

    def times(self, items: np.ndarray) -> np.ndarray:
        """float64 [n]: how often each of n events is shown; items: int [n], the item rows of all positives."""
        counts = np.bincount(items)[items]
        return np.clip((self.pivot / counts) ** self.power, self.least, self.most)


def shown_counts(log: InteractionLog, rows: np.ndarray, resampling: Resampling | None) -> np.ndarray:
    """float64 [items]: how often an epoch shows each item as a positive, in the mean.

    Args:
      log: an `InteractionLog`.
      rows: int64, the log rows that are positives.
      resampling: a `Resampling` or None.
    """
    items = blocks.take(log.item, rows)
    times = None if resampling is None else resampling.times(items)
    return np.bincount(items, times, minlength=log.items.num_rows).astype(np.float64)


def event_weights(
    log: InteractionLog, train: np.ndarray, settings: EventWeights, strict: bool = True
) -> np.ndarray:
    """float32 [log rows]: the weight of each event as a positive.

    Args:
      log: an `InteractionLog`.
      train: int64, its training rows; the newest of them has age 0.
      settings: an `EventWeights`.
      strict: whether the log has to have the kinds. That of some users may lack one.

    Raises:
      ConfigError: the log lacks a column or a kind that the settings name.
      DataError: no training row is left with a weight above 0.
    """
    if settings == EventWeights():  # of a large log, memory counts: those of the log are mapped
        return _checked(log.weight, train)
    weight = log.weight.astype(np.float64)
    if settings.kinds:
        weight *= _by_kind(_column(log, c.EVENT, "EventWeights.kinds"), settings.kinds, strict)
    if settings.dwell is not None:
        seconds = _column(log, settings.dwell, "EventWeights.dwell").cast("float64").to_numpy(zero_copy_only=False)
        share = np.clip(seconds / settings.full_dwell_seconds, 0.0, 1.0)
        weight *= np.where(np.isnan(share), 1.0, share)
    if settings.half_life_days is not None:
        days = np.maximum(log.timestamp[train].max() - log.timestamp, 0) / _DAY
        weight *= 0.5 ** (days / settings.half_life_days)
    return _checked(weight.astype(np.float32), train)


def _checked(weight: np.ndarray, train: np.ndarray) -> np.ndarray:
    if not blocks.take(weight, train).any():
        raise DataError("Every training event weighs 0. Give the log's `weight` or `training.events` other values.")
    return weight


def _column(log: InteractionLog, name: str, argument: str) -> pa.Array:
    known = log.context.column_names
    if name not in known:
        way_out = "Declare it in the source's `columns`." + nearest(name, known)
        raise ConfigError(invalid(argument, f"find the column `{name}` in the events", known, way_out))
    return wide.one(log.context[name])


def _by_kind(events: pa.Array, kinds: Iterable[tuple[str, float]], strict: bool) -> np.ndarray:
    weight, known = np.ones(len(events)), pc.unique(events.drop_null()).to_pylist()
    for kind, factor in kinds:
        if strict and kind not in known:
            raise ConfigError(f"`EventWeights.kinds` names {kind!r}, the kind of no event." + nearest(kind, known))
        weight[pc.equal(events, kind).fill_null(False).to_numpy(zero_copy_only=False)] = factor
    return weight


class Resampler:
    """Draws the events of an epoch, each `times` often in the mean and as evenly as possible (systematic sampling).

    Args:
      times: float64 [rows], at least 0: the mean count of each row in an epoch.
      seed: together with the epoch, it determines the draw.
    """

    def __init__(self, times: np.ndarray, seed: int) -> None:
        self._times, self._seed = times, derive_seed(seed, "resampling")
        self.size = int(times.sum())  # rows of every epoch
        if self.size == 0:
            raise DataError("`training.resampling` leaves less than one event per epoch. Raise its `pivot`.")

    def draw(self, epoch: int) -> np.ndarray:
        """int64 [size], ascending: the rows of an epoch; a row comes ⌊times⌋ or ⌈times⌉ times."""
        rng = np.random.default_rng((self._seed, epoch))
        order = rng.permutation(len(self._times))  # so that neighbours are not drawn in each other's place
        reached = np.cumsum(self._times[order])
        points = np.arange(self.size) + rng.random()
        places = np.minimum(np.searchsorted(reached, points, side="right"), len(order) - 1)
        return np.sort(order[places])
