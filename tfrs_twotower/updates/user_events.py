"""The events that an update of user rows learns from, and those that it reads beside them."""

import logging
import sys
from pathlib import Path

import numpy as np

from tfrs_twotower.data import InteractionLog, Source, joined, parts_of
from tfrs_twotower.features import ItemStatistic
from tfrs_twotower.losses import FullSoftmax, RefinedSampledSoftmax
from tfrs_twotower.pipeline.reading import read_for_users
from tfrs_twotower.recipe import Recipe

_log = logging.getLogger(__name__)
_OTHER_ITEMS = 2**16  # from which the negatives are drawn


def new_events(
    recipe: Recipe, directory: Path, source: Source | None, since: int, limit: float
) -> tuple[InteractionLog, np.ndarray] | None:
    """(the log of the users with new events, bool [its rows]: those events); None, with a warning, if there are none.

    Args:
      recipe: of the run.
      directory: the run's folder.
      source: of events behind the run's own; None if its own source has grown.
      since: seconds since 1970; earlier events are not new.
      limit: the fraction of bad rows at which it stops.

    Raises:
      ConfigError: the log has no times.
    """
    whole = joined(recipe.source, source)
    log = read_for_users(
        directory, whole, source is not None, limit, since, _other_items(recipe), recipe.training.seed
    )
    new = (log.timestamp >= since) & ~log.again
    said = f"No event is later than {moment(since - 1)} UTC, the time of the newest learned event. Name a file with " \
           "later ones" if not new.any() else None
    if source is not None:
        part = len(parts_of(whole)) - 1
        there = np.count_nonzero(log.part == part)
        if not log.new_in(part).any():
            said = (f"The log has all of the {there} new events already. Name others" if there else
                    f"{source.name} has no new event that is a like. Name others")
    if said is None:
        return log, new
    _log.warning("%s by --interactions.", said)
    return None


def moment(seconds: int) -> np.datetime64:
    """A time for a message; seconds: since 1970."""
    return np.datetime64(int(seconds), "s")


def _other_items(recipe: Recipe) -> int | None:
    """How many items are read besides those of the events; None: statistics of items need the whole log."""
    if any(isinstance(f, ItemStatistic) for f in recipe.schema.candidate):
        return None
    # These losses estimate a softmax over the whole catalogue.
    return sys.maxsize if isinstance(recipe.model.loss, (FullSoftmax, RefinedSampledSoftmax)) else _OTHER_ITEMS
