"""The parts of one training, and their results: scores, evaluations, baselines."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from tfrs_twotower import columns as c
from tfrs_twotower import progress
from tfrs_twotower.data import Queries, Ragged, blocks
from tfrs_twotower.evaluation import (
    ALL,
    DISCOVERY,
    MANY,
    Baselines,
    DotScorer,
    Evaluation,
    Parts,
    RerankedScorer,
    Scorer,
    SumScorer,
    evaluate_each,
    kept,
    repeat_share,
    viewed,
)
from tfrs_twotower.features import Searches, Window
from tfrs_twotower.models import Repeats, ScoreWeights
from tfrs_twotower.pipeline.training_vectors import TrainingVectors
from tfrs_twotower.pipeline.trials import Trials
from tfrs_twotower.training import chief_array, start_items

_TUNING_QUERIES = 2_000  # validation queries that choose the baselines' settings
SAMPLE_SEED = 0  # of the queries of a final evaluation

_Name = TypeVar("_Name")
_Own = tuple[Ragged, np.ndarray]  # positions of each query, and what is added to their scores


class Assembly(TrainingVectors):
    """The parts of one training, and what is computed of them; see `TrainingVectors`.

    Attributes:
      untried: the settings of the score's terms that `choose_terms` had no time for, in words.
    """

    untried: tuple[str, ...] = ()

    def start(self) -> None:
        """Sets the item vectors of a new model, whose weights exist, to the recipe's start vectors."""
        settings = self.recipe.model.item_start
        if settings is None:
            return
        if not self.partial:
            start_items(self.model, self.examples, self.split.known, settings, self.recipe.training.seed)
        if self.batches.share is not None:
            for variable in self.model.trainable_variables:
                variable.assign(chief_array(variable.numpy()))

    def weigh(self, weights: ScoreWeights, folder: str | Path) -> None:
        """Sets the `ScoreWeights` of a training, and loads the neighbours from its folder."""
        self.weights = weights
        if weights.neighbours:
            self.terms.read_neighbours(folder)

    @property
    def log_popularity(self) -> np.ndarray:
        """float32 [catalogue]: log p(item), by the recipe's half-life."""
        return self.terms.log_popularity

    def validation_queries(self) -> Queries:
        """Validation's `Queries`, or a sample of `evaluation.validation_queries` of them, drawn by the training's seed.
        """
        most = self.recipe.evaluation.most_validation_queries(self.log.items.num_rows)
        return self._drawn_of_validation(most or None)

    def asked(self, on: str = "test", all_queries: bool = False) -> Queries:
        """The `Queries` of a final evaluation on "test" or "validation": at most `evaluation.test_queries`, or all.

        The sample is the same for all runs with so many queries, whatever their seeds: so two runs can be compared.
        """
        queries = self.split.test if on == "test" else self.split.validation
        most = self.recipe.evaluation.most_test_queries(self.log.items.num_rows)
        return _drawn(queries, most, SAMPLE_SEED) if 0 < most < len(queries) and not all_queries else queries

    def choose_terms(self, seconds: float = math.inf) -> None:
        """Sets the recipe's half-lives, penalty and length to those that rank validation best without the towers.

        seconds: for it; `untried` then names the settings that had no time.
        """
        queries = self.validation_queries()
        if len(queries):  # else all events train, with what was chosen before
            with progress.bar("Choosing the terms of the score", self.terms.most_trials) as advance:
                trials = Trials(seconds, advance)
                self.terms.choose(queries, functools.partial(self._monitored_each, queries), trials)
                self.untried = tuple(trials.untried)
        self.recipe = dataclasses.replace(self.recipe, model=self.terms.settings)

    @property
    def repeats(self) -> Repeats | None:
        """The recipe's `Repeats` with the weight of this model; None if they have no part in the score."""
        weight, settings = self.weights.repeats, self.recipe.model.repeats
        return dataclasses.replace(settings, weights=(weight,)) if settings and weight else None

    @property
    def past_length(self) -> int:
        """The number of events of the history without kinds of its own: the most that a feature, the repeats, the
        neighbours or `few_shot` read."""
        neighbours = self.recipe.model.neighbours if self.weights.neighbours else None
        readers = (self.examples.pasts.get(c.PAST), self.repeats, neighbours)
        few = self.recipe.model.few_shot
        return max([part.length for part in readers if part] + [few.events if few else 0])

    @property
    def windows(self) -> dict[str, Window]:
        """{name of a history: its `Window`}: the histories of a request."""
        found = {name: Window(past.kinds, past.length) for name, past in self.examples.pasts.items()}
        return {**found, c.PAST: Window(self.recipe.history_kinds, self.past_length)} if self.past_length else found

    @property
    def searches(self) -> int:
        """The most searches that a feature reads."""
        return max([f.length for f in self.recipe.schema.query if isinstance(f, Searches)], default=0)

    def positions(self, items: np.ndarray) -> np.ndarray:
        """Catalogue positions of item rows; −1 outside the catalogue."""
        return self.terms.positions(items)

    @property
    def view(self) -> str:
        """The view of `evaluation.views` that the recipe's evaluation uses."""
        return DISCOVERY if self.recipe.evaluation.exclude_seen else ALL

    def evaluate(
        self, queries: Queries, scorer: Scorer, bootstrap: int | None = None, view: str | None = None
    ) -> Evaluation:
        """Evaluates a scorer on one set of queries, in the recipe's view or in another `view`."""
        return self.evaluate_each(queries, {view or self.view: (scorer, view)}, bootstrap)[view or self.view]

    def evaluate_each(
        self, queries: Queries, asked: Mapping[_Name, tuple[Scorer, str | None]], bootstrap: int | None = None,
        parts: Parts | None = None,
    ) -> dict[_Name, Evaluation]:
        """`evaluate` of each {name: (scorer, view or None)}, in one pass.

        A scorer that comes several times in a row, in other views, scores a block of queries once.
        """
        config = self.recipe.evaluation
        sides = {view: self._at_view(queries, view or self.view) for view in {view for _, view in asked.values()}}
        return evaluate_each(
            {name: (scorer, *sides[view]) for name, (scorer, view) in asked.items()},
            self.train_counts,
            ks=config.ks,
            cold_users=self._cold_users(queries),
            bootstrap=config.bootstrap if bootstrap is None else bootstrap,
            parts=parts,
        )

    def _at_view(self, queries: Queries, view: str) -> tuple[Ragged, Ragged | None]:
        """(targets, excluded items or None) of a view, as catalogue positions."""
        targets, seen = viewed(queries, view)
        return self._at_positions(targets), None if seen is None else self._at_positions(seen, known_only=True)

    def model_scorer(self, queries: Queries, view: str | None = None) -> DotScorer | RerankedScorer:
        """A `Scorer` of the model as it is served, for an evaluation in `view`."""
        vectors, candidates = self.towers(queries)
        return self.scorer(queries, vectors, candidates, self.weights, view)

    def scorer(
        self, queries: Queries, vectors: np.ndarray, candidates: np.ndarray, weights: ScoreWeights,
        view: str | None = None,
    ) -> DotScorer | RerankedScorer:
        """As `model_scorer`, but of given vectors of the towers (`towers`), and given `ScoreWeights`."""
        if weights.neighbours:
            vectors = self._behind(vectors, lambda: self.terms.pooled(queries), weights.neighbours)
            items = self.terms.neighbours.items
            items = np.broadcast_to(items, (*candidates.shape[:-1], items.shape[-1]))
            candidates = np.concatenate([candidates, items], axis=-1)
        at = self._place(queries)
        retrieval = DotScorer(vectors / self.model.temperature, candidates, *self._beside(queries, weights), at)
        return retrieval if self.second_stage is None else self._reranked(queries, view)(retrieval)

    def weighing(self, queries: Queries) -> Callable[[ScoreWeights], Scorer]:
        """`ScoreWeights` → `Scorer` of the model as it is now; its products of a block are made once for all weights.
        """
        vectors, candidates = self.towers(queries)
        towers = DotScorer(vectors / self.model.temperature, candidates, at=self._place(queries))
        reranked = None if self.second_stage is None else self._reranked(queries)

        @functools.cache
        def neighbours() -> DotScorer:
            return DotScorer(self.terms.pooled(queries), self.terms.neighbours.items)

        def scorer(weights: ScoreWeights) -> Scorer:
            more = [(neighbours(), weights.neighbours)] if weights.neighbours else []
            retrieval = SumScorer([(towers, 1.0), *more], *self._beside(queries, weights))
            return retrieval if reranked is None else reranked(retrieval)

        return scorer

    def _beside(self, queries: Queries, weights: ScoreWeights) -> tuple[np.ndarray | None, _Own | None]:
        """(bias, own) of a `DotScorer`: popularity and repeats."""
        bias = weights.popularity * self.log_popularity if weights.popularity else None
        if not weights.repeats:
            return bias, None
        positions, values = self.terms.repeated(queries)
        return bias, (positions, weights.repeats * values)

    def _reranked(self, queries: Queries, view: str | None = None) -> Callable[[DotScorer | SumScorer], RerankedScorer]:
        seen = self._at_positions(queries.seen, known_only=True) if (view or self.view) == DISCOVERY else None
        return self.second_stage.scorers(queries.row, seen)

    def baselines(self, queries: Queries) -> dict[str, Scorer]:
        """{name: scorer} of `fitted_baselines`, given the history of each query's user."""
        return self.fitted_baselines.scorers(self._histories(queries))

    @functools.cached_property
    def fitted_baselines(self) -> Baselines:
        """The `Baselines`, fitted on training events alone, with settings chosen on validation.

        Where validation and test have the same queries, as in an update, the settings stay at their defaults.
        """
        rows, validation, config = self.split.known, self.split.validation, self.recipe.evaluation
        chosen_on = None if validation is self.split.test else self._drawn_of_validation(_TUNING_QUERIES)
        return Baselines(
            self.terms.events, config.seconds(len(rows)), repeat_share(validation) > MANY,
            None if chosen_on is None else self._histories(chosen_on),
            functools.partial(self._monitored, chosen_on),  # type: ignore[arg-type]  # without queries it is not called
            self.recipe.training.seed,
        )

    def _drawn_of_validation(self, most: int | None) -> Queries:
        """At most `most` of validation's `Queries`, drawn by the seed; None: all."""
        return _drawn(self.split.validation, most, self.recipe.training.seed)

    def _monitored(self, queries: Queries, scorer: Scorer) -> float:
        """The value by which validation chooses."""
        return float(np.nanmean(self._monitored_each(queries, scorer)))

    def _monitored_each(self, queries: Queries, scorer: Scorer) -> np.ndarray:
        """float [queries]: the values whose mean is `_monitored`."""
        return self.evaluate(queries, scorer, bootstrap=0).per_query[self.recipe.training.monitor]

    def _histories(self, queries: Queries) -> Ragged:
        """`Ragged`, one list per query: catalogue positions of its user's earlier items, oldest first; −1 outside."""
        longest = blocks.counts(self.log.user, self.log.users.num_rows).max()
        return self.terms.histories(queries.row, max(int(longest), 1))

    def _cold_users(self, queries: Queries) -> np.ndarray:
        trained = np.zeros(self.log.users.num_rows, bool)
        for rows in blocks.parts(self.split.known):
            trained[self.log.user[rows]] = True
        return ~trained[queries.user]

    def _at_positions(self, ragged: Ragged, known_only: bool = False) -> Ragged:
        found = Ragged(self.positions(ragged.values), ragged.offsets)
        return kept(found, found.values >= 0) if known_only else found


def _drawn(queries: Queries, most: int | None, seed: int) -> Queries:
    """At most `most` of the `Queries`, in their order; None: all."""
    return queries.take(np.sort(np.random.default_rng(seed).permutation(len(queries))[:most]))
