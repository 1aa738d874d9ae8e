"""The log of a run: the one that it keeps, its parent's with newer events, or that of its source or frames."""

from pathlib import Path

import numpy as np

from tfrs_twotower import progress
from tfrs_twotower.data import (
    IngestReport,
    InteractionLog,
    Prepared,
    ReadOnce,
    Rules,
    Source,
    append,
    excerpt,
    has_log,
    ingest,
    keep_log,
    last_part,
    parts_of,
    read_log,
)
from tfrs_twotower.errors import ConfigError, DataError, invalid
from tfrs_twotower.pipeline import runs
from tfrs_twotower.recipe import Recipe


def read(
    recipe: Recipe, directory: Path, frames: Source | None = None, rejected: bool = False,
    fingerprint: str | None = None, parent: Path | None = None,
) -> tuple[InteractionLog, IngestReport]:
    """The log of a run and the report of its reading.

    Args:
      recipe: a `Recipe`, with or without a source.
      directory: the run's folder. If it keeps the log, nothing else is read.
      frames: in place of the recipe's source.
      rejected: whether bad rows are written to the run.
      fingerprint: of the log that the run was trained on; None: the run is not trained yet.
      parent: the folder of the run that this one updates. If it keeps its log, only newer events are read.

    Raises:
      ConfigError: there is neither a source nor a log that the run keeps.
      DataError: the log cannot be read, or is not the one that the run was trained on.
    """
    source, kept = frames or recipe.source, directory / runs.LOG
    if frames is None and has_log(kept):
        log, report = read_log(kept)
    elif source is None:
        raise ConfigError(
            f"The run in {directory} was trained on frames, and does not keep their log: an earlier version trained "
            "it. Pass the frames again, in Python: `tt.load(run, interactions=..., users=..., items=..., "
            "columns=...)`; into a store they come by `online.load_log` and `online.put_table`."
        )
    else:
        aside = directory / runs.REJECTED if rejected else None
        log, report = _read_source(source, parent, recipe.rejected_limit, aside, recipe.require_items)
    if fingerprint is not None and log.fingerprint() != fingerprint:
        name = kept if source is None else source.name
        raise DataError(
            f"The log of {name} is not the one that {directory} was trained on: its split and figures would be others. "
            "Train a new run, or name the log as it was."
        )
    return log, report


def keep(log: InteractionLog, report: IngestReport, source: Source | None, directory: Path) -> None:
    """Keeps the log in a run's folder. Files of a prepared dataset are linked, not copied."""
    linked = isinstance(source, Prepared) and source.link(directory / runs.LOG, log.fingerprint())
    if not linked:  # a dataset that has grown meanwhile has other files
        keep_log(log, report, directory / runs.LOG)


def read_behind(
    directory: Path, source: Source, limit: float, rejected_to: Path | None = None, require_items: bool = False
) -> tuple[InteractionLog, IngestReport]:
    """The log of a run with the events of the last part of `source`, which has one part more than the run's source.

    If the run keeps its log, only the last part is read.
    """
    if not has_log(directory / runs.LOG):
        return ingest(source, limit, rejected_to, require_items)
    part = len(parts_of(source)) - 1
    before, _ = read_log(directory / runs.LOG)
    return append(before, last_part(source), Rules(limit, require_items), rejected_to, part)


def read_for_users(
    directory: Path, source: Source, new: bool, limit: float, since: int, others: int | None, seed: int
) -> InteractionLog:
    """As `read_behind`: the events of the users alone who have events since a moment, or in a new part.

    Args:
      directory: the run's folder. If it keeps its log, and there is a new part, only that part is read.
      source: that of the run, or one with one part more.
      new: whether it has that part.
      limit: the fraction of bad rows above which reading stops.
      since: seconds since 1970.
      others: how many items the log has besides those of its events, at least; None: it is the whole log.
      seed: of these items' draw.

    Raises:
      ConfigError: the log has no times.
    """
    behind, part = new and has_log(directory / runs.LOG), len(parts_of(source)) - 1
    log, _ = read_log(directory / runs.LOG) if behind else _read_source(source, None, limit, None, False)
    if not log.timed:
        rule, way_out = "be a run on a log with times, to know the new events", "Train anew, on all of the log."
        raise ConfigError(invalid("directory", rule, str(directory), way_out))
    day = ReadOnce(last_part(source)) if behind else None
    if others is not None:
        newest = np.arange(np.searchsorted(log.timestamp, since), len(log))
        rows = newest if behind or not new else np.union1d(newest, np.flatnonzero(log.part == part))
        log = excerpt(log, rows, others, (seed, since), day)
    return log if day is None else append(log, day, Rules(limit), part=part)[0]


def _read_source(
    source: Source, parent: Path | None, limit: float, rejected_to: Path | None, require_items: bool
) -> tuple[InteractionLog, IngestReport]:
    if parent is not None and has_log(parent / runs.LOG):  # an older run's parent may be gone
        if parts_of(source)[:-1] == parts_of(runs.read_config(parent).recipe.source):
            return read_behind(parent, source, limit, rejected_to, require_items)
    if isinstance(source, Prepared):
        if require_items and not source.rules().require_items:
            raise ConfigError(
                f"The recipe has `require_items`, and the dataset {source.folder} was prepared without it. Prepare it "
                "by `twotower prepare --require-items`, or leave it out: --set require_items=false."
            )
        with progress.bar("Checking the dataset"):
            return source.read()
    return ingest(source, limit, rejected_to, require_items)
