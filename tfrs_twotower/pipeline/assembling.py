"""From a recipe and its log to the parts that training and evaluation need, adapted but not trained."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog, Split, blocks, check_kinds
from tfrs_twotower.data.values import is_text
from tfrs_twotower.errors import ConfigError, DataError, invalid
from tfrs_twotower.evaluation import chosen
from tfrs_twotower.features import Field, ItemStatistic, PastFeature, derive_seed, infer_schema, is_table
from tfrs_twotower.losses import FullSoftmax
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.building import adapted_towers, as_one, build_model, build_objective
from tfrs_twotower.pipeline.score_terms import ScoreTerms
from tfrs_twotower.pipeline.second_stage import SecondStage
from tfrs_twotower.pipeline.without_times import without_times
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.sampling import CrossBatch, Explicit, InBatch, Popular
from tfrs_twotower.towers import SequenceEncoder, Tower, makes
from tfrs_twotower.training import (
    Examples,
    ExplicitNegatives,
    ItemStatistics,
    SequenceBatches,
    TrainingBatches,
    WorkerShare,
    computing_in,
    event_weights,
    shown_counts,
)

_SHOWN = 4  # items that were shown and not liked, as negatives of an event


def assemble(
    recipe: Recipe, log: InteractionLog,
    field_states: Mapping[str, Mapping[str, Mapping[str, np.ndarray | np.number]]] | None = None,
    grow: Callable[[Field], bool] | None = None, split: Split | None = None, held_out: bool = True,
    whole: tuple[InteractionLog, np.ndarray] | None = None, seconds: float = math.inf,
) -> Assembly:
    """Splits the log, adapts the fields to training rows alone, and builds the model.

    Args:
      recipe: a `Recipe`, which is `completed`.
      log: an `InteractionLog`.
      field_states: {side: {field name: state}} of an earlier training, instead of adapting.
      grow: field → bool: whether the field's vocabulary grows by new values; None: none does.
      split: a `Split` in place of the recipe's.
      held_out: False trains on the events that the split holds out too; there are then no queries.
      whole: (the log of which this is a part, bool [its rows]: those that are known), of a model whose fields learn
        nothing but new ids: statistics of items count in it, and all items can be recommended; None: this log is whole.
      seconds: for the choice of the score's terms.
    """
    with computing_in(recipe.training.precision):
        return assembled(learned(recipe, log, field_states, grow, split, held_out, whole), seconds)


@dataclasses.dataclass(frozen=True, eq=False)
class Learned:
    """What a training learns from the log before its first step. The rest of an `Assembly` follows from it.

    Attributes:
      recipe, log, split, catalogue: as of an `Assembly`.
      towers, statistics: result of `adapted_towers`.
      counts: int64 [items]: training events of each.
      weight: float32 [log rows]: each event's weight as a positive.
      positives: int64: the log rows of weight above 0 among the training rows.
      shown: float64 [items]: how often an epoch shows each as a positive.
      visible: bool [log rows] or None: the events that a history may show; None: all of them.
      share: the `WorkerShare` of this process in the batches; None: it has all.
      partial: whether `log` is a part of the whole one, on which a worker only trains.
    """

    recipe: Recipe
    log: InteractionLog
    split: Split
    towers: list[tuple[Tower, Tower]]
    statistics: ItemStatistics | None
    counts: np.ndarray
    catalogue: np.ndarray
    weight: np.ndarray
    positives: np.ndarray
    shown: np.ndarray
    visible: np.ndarray | None
    share: WorkerShare | None = None
    partial: bool = False


def learned(
    recipe: Recipe, log: InteractionLog,
    field_states: Mapping[str, Mapping[str, Mapping[str, np.ndarray | np.number]]] | None = None,
    grow: Callable[[Field], bool] | None = None, split: Split | None = None, held_out: bool = True,
    whole: tuple[InteractionLog, np.ndarray] | None = None,
) -> Learned:
    """The first half of `assemble`; call both in `computing_in` the recipe's precision."""
    recipe = _with_shown(recipe if log.timed else without_times(recipe), log)
    split = split or _split(recipe, log)
    split = split if held_out else split.whole(len(log))
    tf.keras.utils.set_random_seed(recipe.training.seed)
    recipe = _with_one_hour(completed(recipe, log))
    exclude_seen = chosen(recipe.evaluation, split.validation)[0]
    repeats = None if exclude_seen or not log.timed else recipe.model.repeats
    recipe = dataclasses.replace(
        recipe, evaluation=dataclasses.replace(recipe.evaluation, exclude_seen=exclude_seen),
        model=dataclasses.replace(recipe.model, repeats=repeats),
    )
    recipe.schema.validate([*log.users.column_names, *log.context.column_names], log.items.column_names)
    for kinds in (recipe.history_kinds, *(f.kinds for f in recipe.schema.query if isinstance(f, PastFeature))):
        if whole is None:  # some users may have none
            check_kinds(log, kinds)
    visible = visible_events(recipe, log, split)
    towers, statistics = adapted_towers(recipe, log, split.known, field_states, grow, visible, whole)
    counts, catalogue = known_items(log, split.known if whole is None else np.arange(len(log)))
    weight = event_weights(log, split.train, recipe.training.events, strict=whole is None)
    counted = blocks.take(weight, split.train) > 0
    positives = split.train if counted.all() else split.train[counted]
    shown = shown_counts(log, positives, recipe.training.resampling)
    return Learned(recipe, log, split, towers, statistics, counts, catalogue, weight, positives, shown, visible)


def visible_events(recipe: Recipe, log: InteractionLog, split: Split) -> np.ndarray | None:
    """`Learned.visible`."""
    if recipe.split.mixed:
        visible = np.zeros(len(log), bool)
        visible[split.train] = True
        return visible
    return ~log.again if log.again.any() else None


def assembled(found: Learned, seconds: float = math.inf) -> Assembly:
    """The second half of `assemble`."""
    recipe, log, split, towers, counts, catalogue, shown = (
        found.recipe, found.log, found.split, found.towers, found.counts, found.catalogue, found.shown
    )
    query_tower, candidate_tower = towers[0]
    for name, term in (("repeats", recipe.model.repeats), ("neighbours", recipe.model.neighbours)):
        if term and c.HISTORY_ITEM_ID not in query_tower.inputs():
            rule, way_out = "be null if `schema.query` has no history feature", "Or add History() to it."
            raise ConfigError(invalid(f"model.{name}", rule, term, way_out))
    _check_few_shot(recipe, query_tower, candidate_tower)
    labels = dict.fromkeys(name for loss in recipe.model.auxiliary for name in loss.labels())
    examples = Examples(
        log, query_tower.fields, candidate_tower.fields, found.visible, found.weight, labels,
        recipe.history_kinds, found.statistics,
    )
    batches = _batches(found, query_tower, examples)
    if isinstance(batches, SequenceBatches):
        shown = batches.shown_counts()
    past = log.item[split.past] if split.past is not None else ()
    objectives = [
        build_objective(member, candidate_tower, examples.items, catalogue, counts, shown, past)
        for member, (_, candidate_tower) in zip(recipe.members(), towers)
    ]
    query_tower, candidate_tower, objective = as_one(recipe, towers, objectives)
    auxiliary = [
        loss.build(derive_seed(recipe.training.seed, f"auxiliary/{i}"))
        for i, loss in enumerate(recipe.model.auxiliary)
    ]
    stage, reranker, seed = None, recipe.model.reranker, recipe.training.seed
    if reranker is not None:
        stage = SecondStage(reranker, query_tower, candidate_tower, examples, catalogue, shown, seed)
        auxiliary.append(stage.loss)
    model = build_model(recipe, query_tower, candidate_tower, objective, auxiliary)
    counts = counts[catalogue]
    timed = c.TIMESTAMP in query_tower.inputs()
    terms = ScoreTerms(log, split.known, catalogue, counts, examples.history, timed, recipe.model, recipe.training.seed)
    a = Assembly(recipe, log, split, model, examples, batches, catalogue, counts, terms, stage, partial=found.partial)
    a.choose_terms(seconds)
    return a


def completed(recipe: Recipe, log: InteractionLog) -> Recipe:
    """The recipe; a missing schema or title is derived from the log's columns."""
    schema = recipe.schema or infer_schema(log, recipe.derived, outcomes=_outcomes(recipe))
    title = recipe.title or c.title(f.name for f in log.items.schema if is_text(f.type))
    return dataclasses.replace(recipe, schema=schema, title=title)


def _with_one_hour(recipe: Recipe) -> Recipe:
    """The recipe for candidates with statistics: see ARCHITECTURE, "Statistics".

    Raises:
      ConfigError: a part needs one vector an item, or batches of many hours.
    """
    moving = [f.name for f in recipe.schema.candidate if isinstance(f, ItemStatistic)] if recipe.schema else []
    if not moving:
        return recipe
    for member in recipe.members():
        queue = next((source for source in member.model.negatives if isinstance(source, CrossBatch)), None)
        sequence = member.model.query_encoder if makes(member.model.query_encoder, SequenceEncoder) else None
        for name, clash in (("reranker", member.model.reranker), ("negatives", queue), ("query_encoder", sequence)):
            if clash is not None:
                rule = f"hold no ItemStatistic with {type(clash).__name__} as model.{name}"
                raise ConfigError(invalid("schema.candidate", rule, moving[0], "Leave one of them out."))

    def drawn(model: ModelConfig) -> ModelConfig:
        if not any(isinstance(source, InBatch) for source in model.negatives):
            return model
        others = tuple(source for source in model.negatives if not isinstance(source, InBatch))
        given = any(isinstance(source, Popular) for source in others)
        popular = () if given else (Popular(recipe.training.batch_size, 1.0),)
        return dataclasses.replace(model, negatives=(*popular, *others))

    members = tuple(dataclasses.replace(member, model=drawn(member.model)) for member in recipe.ensemble)
    return dataclasses.replace(recipe, model=drawn(recipe.model), ensemble=members)


def _check_few_shot(recipe: Recipe, query_tower: Tower, candidate_tower: Tower) -> None:
    """Raises `ConfigError` for a `few_shot` of a side whose tower lacks what it needs."""
    settings, user, past = recipe.model.few_shot, query_tower.user_table, c.HISTORY_ITEM_ID in query_tower.inputs()
    if settings and settings.users and (recipe.ensemble or not user or not past):
        rule = "be false in an ensemble, and without a history and an Id of `user_id` with a vocabulary"
        raise ConfigError(invalid("model.few_shot.users", rule, True, "Or add those to `schema.query`."))
    if settings and settings.items and not any(is_table(f, c.ITEM_ID) for f in candidate_tower.fields):
        rule = "be false without an Id of `item_id` with a vocabulary"
        raise ConfigError(invalid("model.few_shot.items", rule, True, "Or add one to `schema.candidate`."))


def _split(recipe: Recipe, log: InteractionLog) -> Split:
    split = recipe.split.split(log, seed=recipe.training.seed)
    if not len(split.train):
        raise DataError("The split leaves no training row. Use more data or a smaller `split.test`.")
    if not len(split.validation):
        raise DataError(
            "`split.validation` must leave some queries: they choose the epoch. Received: none. Raise it, for example "
            "split.validation=0.1."
        )
    return split


def _batches(found: Learned, query_tower: Tower, examples: Examples) -> TrainingBatches | SequenceBatches:
    """The training batches for the query's encoder. A member of an ensemble is no sequence model."""
    recipe, log, split, positives = found.recipe, found.log, found.split, found.positives
    if isinstance(query_tower.encoder, SequenceEncoder) and not recipe.ensemble:
        return SequenceBatches(examples, positives, recipe.training, query_tower.fields)
    shown_before = None if found.partial else split
    explicit = ExplicitNegatives(log, recipe.model.negatives, shown_before, found.catalogue, recipe.training.seed)
    known = positives if split.past is None else np.concatenate([split.past, positives])
    if found.share is not None and not found.partial:
        positives = known = positives[found.share.places]
    return TrainingBatches(examples, positives, recipe.training, explicit, known, found.share)


def _with_shown(recipe: Recipe, log: InteractionLog) -> Recipe:
    """The recipe with a source of `Explicit` negatives, if the log has items that users saw and did not like.

    Models with a loss over the whole catalogue, or with a sequence encoder, get none: in these, such items are
    negatives like all others.
    """
    model, own = recipe.model, Explicit(count=_SHOWN)
    sequence = makes(model.query_encoder, SequenceEncoder)
    if not len(log.shown) or sequence or isinstance(model.loss, FullSoftmax):
        return recipe
    if any(isinstance(source, Explicit) and source.column is None for source in model.negatives):
        return recipe
    return dataclasses.replace(recipe, model=dataclasses.replace(model, negatives=(*model.negatives, own)))


def _outcomes(recipe: Recipe) -> list[str | None]:
    """The context columns that are known only after an event, and so are no features of a query."""
    explicit = [source.column for source in recipe.model.negatives if isinstance(source, Explicit)]
    labels = [name for loss in recipe.model.auxiliary for name in loss.labels()]
    return [*explicit, *labels, recipe.training.events.dwell]


def known_items(log: InteractionLog, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [items]: events among the known log `rows`; int32: the item rows that can be recommended).

    These are the items of the known events, and those of the item table.

    An item that is in no table, and only in validation or test events, is unknown when the model is trained. If no
    event is held out, all items are known.
    """
    whole = len(rows) == len(log)
    counts = log.item_counts(None if whole else rows)
    known = (counts > 0) | whole
    for name in log.items.column_names:
        if name != c.ITEM_ID:
            known |= pc.is_valid(log.items[name]).to_numpy()
    return counts, np.flatnonzero(known).astype(np.int32)
