"""The towers, the objective and the model of a recipe, with the classes that its settings choose."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower.data import InteractionLog
from tfrs_twotower.features import Field, StatisticField, build_fields, derive_seed
from tfrs_twotower.losses import FullSoftmax
from tfrs_twotower.models import (
    CatalogueObjective,
    EnsembleObjective,
    ItemFeatures,
    MultiInterestTwoTower,
    Retrieval,
    SampledObjective,
    SequenceTwoTower,
    TwoTowerModel,
    build_temperature,
)
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.sampling import Explicit, Hard, HardNegatives, Negatives, build_logq
from tfrs_twotower.towers import EnsembleTower, InterestEncoder, SequenceEncoder, Tower
from tfrs_twotower.training import ItemStatistics, adapt, load_fields


def adapted_towers(
    recipe: Recipe, log: InteractionLog, rows: np.ndarray,
    field_states: Mapping[str, Mapping[str, Mapping[str, np.ndarray | np.number]]] | None,
    grow: Callable[[Field], bool] | None, visible: np.ndarray | None = None,
    whole: tuple[InteractionLog, np.ndarray] | None = None,
) -> tuple[list[tuple[Tower, Tower]], ItemStatistics | None]:
    """([(query tower, candidate tower)] of the recipe's model and of each further one of its ensemble, the
    `ItemStatistics` of the candidates, or None without such features).

    Args:
      recipe: a `Recipe` with a schema.
      log: an `InteractionLog`.
      rows: int64, the log rows that the fields may learn from.
      field_states, grow: as in `assemble`.
      visible: bool [log rows] or None: the events that statistics count.
      whole: as in `assemble`.
    """
    towers = [_build_towers(member) for member in recipe.members()]
    query_fields, candidate_fields = (tower.fields for tower in towers[0])
    moving = any(isinstance(field, StatisticField) for field in candidate_fields)
    statistics = None
    if moving:
        counted = (log, rows, visible) if whole is None else (whole[0], np.flatnonzero(whole[1]), whole[1])
        statistics = ItemStatistics(candidate_fields, *counted)
    if field_states is None:
        adapt(log, rows, query_fields, candidate_fields, statistics=statistics)
    else:
        load_fields(towers[0], field_states)
    if grow is not None:
        adapt(log, rows, list(filter(grow, query_fields)), list(filter(grow, candidate_fields)),
              learn=lambda field: field.grow, statistics=statistics)
    for others in towers[1:]:
        load_fields(others, dict(zip(("query", "candidate"), (tower.state() for tower in towers[0]))))
    return towers, statistics


def _build_towers(recipe: Recipe) -> tuple[Tower, Tower]:
    """(query tower, candidate tower) of a recipe that has a schema, not yet adapted."""
    config, names = recipe.model, ("query", "candidate")
    encoders = (config.query_encoder, config.candidate_encoder)
    seeds = (derive_seed(recipe.training.seed, name) for name in names)
    parts = zip(
        build_fields(recipe.schema, seed=recipe.training.seed),  # type: ignore[arg-type]  # it has one
        encoders, seeds, names,
    )
    unit = config.similarity == "cosine"
    return tuple(  # type: ignore[return-value]  # two, as there are names
        Tower(fields, encoder, config.dim, unit, seed, name, start=name == "query")
        for fields, encoder, seed, name in parts
    )


def as_one(
    recipe: Recipe, towers: Sequence[tuple[Tower, Tower]], objectives: Sequence[SampledObjective | CatalogueObjective]
) -> tuple[Tower | EnsembleTower, Tower | EnsembleTower, SampledObjective | CatalogueObjective | EnsembleObjective]:
    """(query tower, candidate tower, objective) of a recipe's model, or of its ensemble."""
    if not recipe.ensemble:
        return (*towers[0], objectives[0])
    weights = [1.0, *(member.weight for member in recipe.ensemble)]
    query_tower, candidate_tower = (
        EnsembleTower(side, weights, name) for side, name in zip(zip(*towers), ("query", "candidate"))
    )
    return query_tower, candidate_tower, EnsembleObjective(objectives, candidate_tower, weights)


def build_objective(
    recipe: Recipe, candidate_tower: Tower, items: ItemFeatures, catalogue: np.ndarray, counts: np.ndarray,
    shown: np.ndarray, past: np.ndarray | Sequence[int] = (),
) -> SampledObjective | CatalogueObjective:
    """The recipe's objective: against the whole catalogue, or against its negative sources.

    Args:
      recipe: a `Recipe`.
      candidate_tower: a `Tower`.
      items: the `ItemFeatures` of all items.
      catalogue: int32, the item rows that can be recommended.
      counts: int64 [items], training events of each.
      shown: float64 [items], how often an epoch shows each as a positive.
      past: int32 [n], the items of the events that an earlier training learned from, in their order.
    """
    config, seed = recipe.model, derive_seed(recipe.training.seed, "negatives")
    if isinstance(config.loss, FullSoftmax):
        temperature = build_temperature(config.temperature)
        return CatalogueObjective(temperature, items, candidate_tower, catalogue, config.loss.block)
    sampled = [s for s in config.negatives if not isinstance(s, (Hard, Explicit))]
    negatives = Negatives(
        sampled, build_logq(config.logq, shown, past), catalogue, counts[catalogue], config.dim,
        derive_seed(seed, "drawn"),
    )
    task = Retrieval(
        loss=config.loss, temperature=config.temperature, in_batch=negatives.in_batch, reduction="mean",
        remove_accidental_hits=True,
    )
    hard = [HardNegatives(s, catalogue, config.dim, derive_seed(seed, "hard"))
            for s in config.negatives if isinstance(s, Hard)]
    explicit = any(isinstance(source, Explicit) for source in config.negatives)
    return SampledObjective(task, negatives, items, candidate_tower, hard[0] if hard else None, explicit)


def build_model(
    recipe: Recipe, query_tower: Tower | EnsembleTower, candidate_tower: Tower | EnsembleTower,
    objective: SampledObjective | CatalogueObjective | EnsembleObjective, auxiliary: Iterable[tf.keras.layers.Layer],
) -> TwoTowerModel:
    """The `TwoTowerModel` for the query's encoder."""
    if isinstance(query_tower.encoder, SequenceEncoder):
        known = recipe.training.known_positives
        return SequenceTwoTower(query_tower, candidate_tower, objective, auxiliary, known_positives=known)
    several = isinstance(query_tower.encoder, InterestEncoder)
    return (MultiInterestTwoTower if several else TwoTowerModel)(query_tower, candidate_tower, objective, auxiliary)
