"""From a recipe and its log to everything that training and evaluation need, adapted but not trained."""

import dataclasses
import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.building import adapted_towers, as_one, build_model, build_objective
from tfrs_twotower.data import InteractionLog, Ragged, RandomHoldout, Split
from tfrs_twotower.errors import DataError
from tfrs_twotower.evaluation import DotScorer, ItemKNN, Popularity, evaluate
from tfrs_twotower.exporting import log_popularity
from tfrs_twotower.features import derive_seed, infer_schema
from tfrs_twotower.models import TwoTowerModel, build_auxiliary
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.sampling import Explicit
from tfrs_twotower.second_stage import SecondStage
from tfrs_twotower.towers import SequenceEncoder
from tfrs_twotower.training import (
    Examples,
    SequenceBatches,
    TrainingBatches,
    computing_in,
    event_weights,
    explicit_negatives,
    shown_counts,
)

_BLOCK = 4096  # rows embedded at a time
_CELLS = 2**23  # rows × events × events of one attention at a time
_TITLES = ("title", "name")
_KNN_HISTORY = 10  # events of the past that item-kNN sums over; more was worse


@dataclasses.dataclass
class Assembly:
    """The parts of one training.

    Attributes:
      recipe: the `Recipe`, its schema and title filled in.
      log, split: the data and who may see what of it.
      model: a `TwoTowerModel`.
      examples, batches: encoded features; training batches.
      catalogue: int32, the item rows that can be recommended.
      train_counts: int64 [catalogue]: training events of each.
      second_stage: what rescores the retrieved top, or None.
      popularity_weight: w of the score ⟨u, v⟩ / τ + w · log p(item).
    """

    recipe: Recipe
    log: InteractionLog
    split: Split
    model: TwoTowerModel
    examples: Examples
    batches: TrainingBatches | SequenceBatches
    catalogue: np.ndarray
    train_counts: np.ndarray
    second_stage: SecondStage | None = None
    popularity_weight: float = 0.0

    def __post_init__(self):
        model = self.model
        self._query, self._candidate = (
            tf.function(functools.partial(tower, training=False), reduce_retracing=True, autograph=False)
            for tower in (model.query_tower, model.candidate_tower)
        )

    def query_vectors(self, rows):
        """float32 [rows, dim], or [rows, interests, dim]: the query tower at log rows."""
        block = min(_BLOCK, max(_CELLS // max(self.examples.history_length, 1) ** 2, 1))
        return _in_blocks(lambda part: self._query(self.examples.queries(part)), rows, block)

    def candidate_vectors(self):
        """float32 [catalogue, dim]: the candidate tower over the catalogue."""
        return _in_blocks(lambda part: self._candidate(self.examples.candidates(part)), self.catalogue)

    def positions(self, items):
        """Catalogue positions of item rows; −1 outside the catalogue."""
        table = np.full(self.log.items.num_rows, -1, np.int32)
        table[self.catalogue] = np.arange(len(self.catalogue), dtype=np.int32)
        return table[items]

    def judge(self, queries, scorer, bootstrap=None):
        """Evaluates a scorer on one set of queries, by the recipe's protocol."""
        config = self.recipe.evaluation
        return evaluate(
            scorer,
            self._at_positions(queries.targets),
            self._at_positions(queries.seen, known_only=True) if config.exclude_seen else None,
            self.train_counts,
            ks=config.ks,
            cold_users=self._cold_users(queries),
            bootstrap=config.bootstrap if bootstrap is None else bootstrap,
        )

    def model_scorer(self, queries):
        """The model as a scorer: what is served."""
        return self.scorer(queries, self.query_vectors(queries.row), self.candidate_vectors(), self.popularity_weight)

    def scorer(self, queries, vectors, candidates, popularity_weight):
        """As `model_scorer`, of the towers' vectors for the queries and the catalogue."""
        bias = popularity_weight * log_popularity(self.train_counts) if popularity_weight else None
        retrieval = DotScorer(vectors / self.model.temperature, candidates, bias)
        if self.second_stage is None:
            return retrieval
        seen = self._at_positions(queries.seen, known_only=True) if self.recipe.evaluation.exclude_seen else None
        return self.second_stage.scorer(retrieval, queries.row, seen, self._at_positions(queries.targets))

    def baselines(self, queries):
        """{name: scorer}: popularity and item-kNN, from training events alone."""
        train = self.split.train
        positions = self.positions(self.log.item[train])
        past = self.examples.history.before(queries.row, _KNN_HISTORY)[0]
        lengths = (past >= 0).sum(axis=1)
        histories = Ragged(self.positions(past[past >= 0]), np.concatenate([[0], np.cumsum(lengths)]))
        return {
            "popularity": Popularity(self.train_counts, len(queries.user)),
            "item_knn": ItemKNN(self.log.user[train], positions, histories, len(self.catalogue), last=_KNN_HISTORY),
        }

    def _cold_users(self, queries):
        trained = np.bincount(self.log.user[self.split.train], minlength=self.log.users.num_rows) > 0
        return ~trained[queries.user]

    def _at_positions(self, ragged, known_only=False):
        values = self.positions(ragged.values)
        if not known_only:
            return Ragged(values, ragged.offsets)
        rows = np.repeat(np.arange(len(ragged.offsets) - 1), np.diff(ragged.offsets))
        kept = values >= 0
        counts = np.bincount(rows[kept], minlength=len(ragged.offsets) - 1)
        return Ragged(values[kept], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def _in_blocks(embed, rows, block=_BLOCK):
    rows = np.asarray(rows)
    return np.concatenate([embed(rows[i: i + block]).numpy() for i in range(0, len(rows), block)])


def assemble(recipe, log, field_states=None, grow=None, split=None):
    """Splits the log, adapts the fields to training rows alone, and builds the model.

    Args:
      recipe: a `Recipe`, which is `completed`.
      log: an `InteractionLog`.
      field_states: {side: {field name: state}} of an earlier training, instead of adapting.
      grow: of which fields the vocabularies then take up what is new: field → bool; None for none.
      split: a `Split` in place of the recipe's.
    """
    with computing_in(recipe.training.precision):
        return _assemble(recipe, log, field_states, grow, split)


def _assemble(recipe, log, field_states, grow, split):
    tf.keras.utils.set_random_seed(recipe.training.seed)
    if split is None:
        split = _split(recipe, log)
    recipe = completed(recipe, log)
    recipe.schema.validate([*log.users.column_names, *log.context.column_names], log.items.column_names)
    towers = adapted_towers(recipe, log, split.known, field_states, grow)
    counts = log.item_counts(split.known)
    visible = None
    if isinstance(recipe.split, RandomHoldout):  # its test events lie among the training events, not after them
        visible = np.zeros(len(log), bool)
        visible[split.train] = True
    weight = event_weights(log, split.train, recipe.training.events)
    query_tower, candidate_tower = towers[0]
    examples = Examples(log, query_tower.fields, candidate_tower.fields, visible=visible, weight=weight)
    positives = split.train[weight[split.train] > 0]
    catalogue = _catalogue_rows(log, counts)
    shown = shown_counts(log, positives, recipe.training.resampling)
    past = log.item[split.past] if split.past is not None else ()
    objectives = [
        build_objective(member, candidate_tower, examples.items, catalogue, counts, shown, past)
        for member, (_, candidate_tower) in zip(recipe.members(), towers)
    ]
    query_tower, candidate_tower, objective = as_one(recipe, towers, objectives)
    auxiliary = [
        build_auxiliary(loss, derive_seed(recipe.training.seed, f"auxiliary/{i}"))
        for i, loss in enumerate(recipe.model.auxiliary)
    ]
    stage, reranker, seed = None, recipe.model.reranker, recipe.training.seed
    if reranker is not None:
        stage = SecondStage(reranker, query_tower, candidate_tower, examples, catalogue, shown, seed)
        auxiliary.append(stage.loss)
    known = positives if split.past is None else np.concatenate([split.past, positives])
    model = build_model(recipe, query_tower, candidate_tower, objective, auxiliary)
    batches = _batches(recipe, query_tower, examples, positives, known)
    return Assembly(recipe, log, split, model, examples, batches, catalogue, counts[catalogue], stage)


def completed(recipe, log):
    """The recipe with the schema and the title that are taken from the log's columns where it names none."""
    schema = recipe.schema or infer_schema(log, recipe.derived, outcomes=_outcomes(recipe))
    texts = (f.name for f in log.items.schema if f.name.casefold() in _TITLES and pa.types.is_string(f.type))
    return dataclasses.replace(recipe, schema=schema, title=recipe.title or next(texts, None))


def _split(recipe, log):
    split = recipe.split.split(log, seed=recipe.training.seed)
    if not len(split.train):
        raise DataError("The split leaves no training row. Use more data or a smaller `split.test`.")
    if not len(split.validation):
        raise DataError(
            "`split.validation` must leave some queries: they choose the epoch. Received: none. Raise it, for example "
            "split.validation=0.1."
        )
    return split


def _batches(recipe, query_tower, examples, positives, known):
    """What the query's encoder learns from; `known`: log rows that are no negatives of their users."""
    if isinstance(query_tower.encoder, SequenceEncoder):
        return SequenceBatches(examples, positives, recipe.training, query_tower.fields)
    explicit = explicit_negatives(examples.log, recipe.model.negatives)
    return TrainingBatches(examples, positives, recipe.training, explicit, known)


def _outcomes(recipe):
    """The context columns that are known only after an event, and so are no features of a query."""
    explicit = [source.column for source in recipe.model.negatives if isinstance(source, Explicit)]
    return [*explicit, recipe.training.events.dwell]


def _catalogue_rows(log, train_counts):
    """int32: item rows that can be recommended: those trained on, and those that the item table describes.

    An item that only validation or test events name, and no table, is unknown when the model is made.
    """
    known = train_counts > 0
    for name in log.items.column_names:
        if name != c.ITEM_ID:
            known |= pc.is_valid(log.items[name]).to_numpy()
    return np.flatnonzero(known).astype(np.int32)
