"""The daily update: warm start, one pass over the new events, the gate, a refit, publication."""

import dataclasses
from pathlib import Path

from tfrs_twotower.data import Newest, RandomPerUser, Source, Temporal, joined, parts_of
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.exporting import Key
from tfrs_twotower.exporting.publishing import check_signed
from tfrs_twotower.index import kept_config
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.learned_fields import read_fields
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.training import warm_start
from tfrs_twotower.updates.gate import judge


@dataclasses.dataclass(frozen=True)
class Update:
    """The outcome of an update.

    Attributes:
      directory: the new run.
      published: the exported version's path; None if it was refused.
      reason: why it was refused, in one sentence; None if it was published.
      monitor: the metric that decided: `gate.CHOICE_RATE`, or the one that the training monitors.
      serving, updated: its value of the serving version and of the update, on the newest events.
      interval: 95% paired bootstrap interval of updated − serving.
      recommender: the trained `Recommender`.
    """

    directory: Path
    published: Path | None
    reason: str | None
    monitor: str
    serving: float
    updated: float
    interval: tuple[float, float]
    recommender: Recommender = dataclasses.field(repr=False)


def update_full(
    parent: str | Path, source: Source | None,
    held_out: float = 0.1, directory: str | Path | None = None, verbose: int = 1, rejected_limit: float | None = None,
    key: Key | None = None,
) -> Update:
    """Trains the model of a run further on new events, and publishes it if it is not worse (`gate.judge`).

    Vocabularies grow at their ends; weights and optimizer slots of known ids are kept. It trains once over the new
    events, in shuffled order, without the newest share `held_out`, on which it is then evaluated. An update that passes
    is trained once more from the same start, on these events too, and published; with `training.refit=False` the first
    training is published. The vectors are in a new embedding space, so index and item vectors are computed again. The
    index is of the kind that the parent keeps.

    Args:
      parent: the folder of the run that serves.
      source: the configuration of the source of the new events; None if the parent's own source has grown.
      held_out: the newest fraction of the new events, on which the update is evaluated.
      directory: the new run's folder; by default a new one beside the parent's. A stopped update there continues.
      verbose: 0 prints nothing.
      rejected_limit: the fraction of bad rows at which it stops; None: the parent's.
      key: the `Key` that signs the published version; None: it is not signed.

    An event of `source` is new if the log does not have it, even if it is older than the parent's last event. Only
    events later than that one are used to evaluate.

    Returns:
      An `Update`. A refused one stays in its folder with the reason in `refused.json`, and `latest` does not move.

    Raises:
      ConfigError: the parent's split is not by time and it was not refit, so the new events are not known; or the
        parent is itself an update that did not pass its gate, and was not exported.
      ExportError: the parent's version, or that of `latest`, is signed and there is no `key`.
      NothingNew: there are no new events.
      TrainingError: another process writes to `directory`.
    """
    parent = Path(parent).resolve()
    check_signed(parent / runs.EXPORT, key)
    config, served = runs.read_config(parent), runs.weights(parent)
    split = config.recipe.split
    if isinstance(split, RandomPerUser):
        rule, way_out = "be split by time, not at random, to know the new events", "Train anew, on all of the log."
        raise ConfigError(invalid("parent", rule, split, way_out))
    if served.folder.name != runs.REFIT and not isinstance(split, (Temporal, Newest)):
        rule = "be trained on all events, or be split by time (Temporal, or an earlier update)"
        way_out = "Train the first run without --no-refit, or with split=Temporal()."
        raise ConfigError(invalid("parent", rule, split, way_out))
    if not list((parent / runs.EXPORT).glob("[0-9]*")):  # otherwise it was published by --force
        runs.check_passed(parent, "Update the run that serves.")
    old = config.recipe
    chosen = kept_config(parent / runs.INDEX) or old.index  # by `twotower index`, after the training
    new = joined(old.source, source)
    recipe = dataclasses.replace(
        old,
        source=new,
        index=chosen,
        split=Newest(served.trained_until + 1, held_out, part=None if source is None else len(parts_of(new)) - 1),
        training=dataclasses.replace(old.training, epochs=1, patience=0),
        rejected_limit=old.rejected_limit if rejected_limit is None else rejected_limit,
    )
    usual = parent.parent.name == recipe.name  # RUNS/RECIPE/TIME, and no folder of one's own
    directory = Path(directory or runs.create(parent.parent.parent if usual else parent.parent, recipe.name))
    with runs.writing(directory):
        # Until it has passed, so that a run that was stopped before its gate cannot be exported.
        runs.write_json(directory / runs.REFUSED, {"reason": "it was stopped before its gate."})
        new = Recommender(recipe, directory=directory, parent=parent)
        new.check_signed(key)
        try:
            new.fit(verbose)
        finally:
            if not (directory / runs.CONFIG).exists():  # there is nothing to keep: the folder is removed
                (directory / runs.REFUSED).unlink()
        return _evaluated(new, parent, verbose, key)


def _evaluated(new: Recommender, parent: Path, verbose: int, key: Key | None) -> Update:
    """Publishes the update, or writes the reason of a refusal."""
    metrics = new.evaluate()
    verdict = judge(new.assembly, _serving(new, parent), new.evaluations["model"])
    metrics["gate"], reason = verdict.to_dict(), verdict.reason
    if reason is None and new.recipe.training.refit:
        new.refit(verbose)
    index = new.index()  # with which the figures are written, the gate's too
    if reason is None and not index.meets_target:
        reason = f"the index reaches a recall of {index.recall_at_k:.3f} below the target of {index.target_recall}."
    published = None
    if reason is None:
        (new.directory / runs.REFUSED).unlink()
        published = new.export(key=key)  # checks that the saved model answers as the one in memory
    else:
        runs.write_json(new.directory / runs.REFUSED, {"reason": reason, **metrics["gate"]})
    return Update(new.directory, published, reason, verdict.metric, verdict.serving, verdict.updated, verdict.interval,
                  new)


def _serving(new: Recommender, parent: Path) -> Assembly:
    """The parent's served model on the update's log and split."""
    a, folder = new.assembly, runs.weights(parent).folder
    old = assemble(a.recipe, a.log, read_fields(folder))
    old.model(next(iter(old.batches.dataset(0, 1))))
    warm_start(old.model, folder)
    old.weigh(runs.score_weights(parent), folder)
    return old
