"""The log of a run: from its source, from data frames, or from the run's folder."""

from pathlib import Path

from tfrs_twotower.data import IngestReport, InteractionLog, Source, has_log, ingest, read_log
from tfrs_twotower.errors import ConfigError, DataError
from tfrs_twotower.pipeline import runs
from tfrs_twotower.recipe import Recipe


def read(
    recipe: Recipe, directory: Path, frames: Source | None = None, rejected: bool = False,
    fingerprint: str | None = None,
) -> tuple[InteractionLog, IngestReport]:
    """The log of a run and the report of its reading.

    Args:
      recipe: a `Recipe`, with or without a source.
      directory: the run's folder.
      frames: in place of the recipe's source. Without both, the run's kept log is read.
      rejected: whether bad rows are written to the run.
      fingerprint: of the log that the run was trained on; None: the run is not trained yet.

    Raises:
      ConfigError: there is neither a source nor a log that the run keeps.
      DataError: the log cannot be read, or is not the one that the run was trained on.
    """
    source = frames or recipe.source
    if source is not None:
        log, report = ingest(
            source, limit=recipe.rejected_limit, rejected_to=directory / runs.REJECTED if rejected else None,
            require_items=recipe.require_items,
        )
    elif has_log(directory / runs.LOG):
        log, report = read_log(directory / runs.LOG)
    else:
        raise ConfigError(
            f"The run in {directory} was trained on frames, and does not keep their log: it takes more than 256 MB, or "
            "an earlier version trained it. Pass the frames again, in Python: "
            "`tt.load(run, interactions=..., users=..., items=..., columns=...)`; into a store they come by "
            "`online.load_log` and `online.put_table`."
        )
    if fingerprint is not None and log.fingerprint() != fingerprint:
        name = directory / runs.LOG if source is None else source.name
        raise DataError(
            f"The log of {name} is not the one that {directory} was trained on: its split and figures would be others. "
            "Train a new run, or name the log as it was."
        )
    return log, report
