"""From a trained `Assembly` to search: the weights in the score, the index, the `Retriever`."""

from pathlib import Path

import numpy as np

from tfrs_twotower import columns as c
from tfrs_twotower.evaluation import Evaluation
from tfrs_twotower.exporting import PastVectors, People, Retriever, Similarity, searched_candidates, searched_queries
from tfrs_twotower.features import key_tensor
from tfrs_twotower.index import (
    SAVED_MODEL,
    CandidateIndex,
    IndexConfig,
    IndexReport,
    build,
    chosen_kind,
    keep,
    kept,
    remove,
)
from tfrs_twotower.models import ScoreWeights, clearly_better, heads_of, middle
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.training import is_chief

_TUNING_QUERIES = 2_000  # the largest number of queries to tune and measure an index
_PEOPLE = 1_000  # users of an export's sample
_FEWER_REPEATS = 0.03  # the least gain for a smaller weight of repeats
_LEAST_QUERIES = 20  # with fewer, candidates are used as queries


class Validation:
    """Measures a model, as it is now, on validation: call it for {metric: value} with the best `ScoreWeights`.

    Args:
      assembly: an `Assembly`.
    """

    def __init__(self, assembly: Assembly) -> None:
        self._assembly, self._queries = assembly, assembly.validation_queries()

    def by_weights(self) -> dict[ScoreWeights, dict[str, float]]:
        """{`ScoreWeights`: metrics} of those of the recipe that were tried, the best ones first.

        The weights are chosen one after the other, in two rounds. Each starts from its middle value. Another value must
        be better by more than the standard error of the difference, because few queries prove little. Two metrics
        decide, each relative to the first choice: the mean of the monitored metric and of the recall at the largest
        cut-off. A candidate generator needs a good head and a good long list.

        A smaller weight of repeats must also be better by 3%, as validation undervalues it. The model was trained on
        nearly all of a user's events before validation, and ranks these items high by itself. It will not know the
        events after its training.
        """
        a, queries, model = self._assembly, self._queries, self._assembly.recipe.model
        scorer = a.weighing(queries)
        evaluated: dict[ScoreWeights, Evaluation] = {}
        terms = {"neighbours": model.neighbours, "repeats": model.repeats}
        tried = {"popularity": model.popularity_weights, **{name: t.weights for name, t in terms.items() if t}}
        best = ScoreWeights(**{name: middle(choices) for name, choices in tried.items()})
        wanted = (a.recipe.training.monitor, f"recall@{max(a.recipe.evaluation.ks)}")

        def value(weights: ScoreWeights) -> np.ndarray:  # [queries]
            first, this = next(iter(evaluated.values())).per_query, evaluated[weights].per_query
            return sum(this[name] / max(np.nanmean(first[name]), 1e-9) for name in wanted if name in this)

        for name in 2 * list(tried):
            choices = [best._replace(**{name: weight}) for weight in tried[name]]
            new = {weights: (scorer(weights), None) for weights in choices if weights not in evaluated}
            if new:
                evaluated.update(a.evaluate_each(queries, new, bootstrap=0))
            other = max(choices, key=lambda weights: np.nanmean(value(weights)))
            least = 2 * _FEWER_REPEATS if other.repeats < best.repeats else 0.0
            if clearly_better(value(other), value(best), least):
                best = other
        return {weights: evaluated[weights].metrics for weights in (best, *evaluated)}

    def __call__(self) -> dict[str, float]:
        return next(iter(self.by_weights().values()))


def choose_weights(assembly: Assembly, directory: Path, verbose: int = 1) -> None:
    """Sets the `ScoreWeights` of a trained model to those that rank validation best, and keeps them in its run.

    An update has only its parent's.
    """
    a, monitor = assembly, assembly.recipe.training.monitor
    found = {weights: metrics[monitor] for weights, metrics in Validation(a).by_weights().items()}
    a.weights, tried = next(iter(found)), [[*weights, value] for weights, value in found.items()]
    if verbose and len(found) > 1:
        w, said = a.weights, f"log p(item) {a.weights.popularity:g}"
        said += f", neighbours {w.neighbours:g}" if a.recipe.model.neighbours else ""
        said += f", repeats {w.repeats:g}" if a.recipe.model.repeats else ""
        print(f"Weights in the score, chosen by validation: {said} ({monitor} {found[w]:.4f}).", flush=True)
    if is_chief():
        if a.weights.neighbours:
            a.terms.keep_neighbours(directory / runs.CHECKPOINT)
        weights = {"weight": a.weights.popularity, "neighbours": a.weights.neighbours, "repeats": a.weights.repeats}
        runs.write_json(directory / runs.POPULARITY, {**weights, "monitor": monitor, "validation": tried})


def tuned_index(
    assembly: Assembly, config: IndexConfig, folder: Path | None = None
) -> tuple[CandidateIndex, IndexReport]:
    """(index, report) over the catalogue's vectors, tuned to `config`'s target recall by real queries.

    folder: for an index that no SavedModel can hold; None: nothing is kept.
    """
    a, seed = assembly, assembly.recipe.training.seed
    rng, held_out = np.random.default_rng(seed), a.split.validation.row
    if len(held_out) < _TUNING_QUERIES:  # training events fill up: their queries are as real
        held_out = np.concatenate([held_out, rng.permutation(a.split.train)[: _TUNING_QUERIES - len(held_out)]])
    queries, candidates = a.query_vectors(np.sort(rng.permutation(held_out)[:_TUNING_QUERIES])), _candidates(a)
    if a.weights.popularity:
        queries = searched_queries(queries).numpy()
    queries = queries.reshape(-1, queries.shape[-1])  # each of several interests is a query by itself
    index, report = build(config, candidates, queries if len(queries) >= _LEAST_QUERIES else None, seed=seed)
    if folder is not None:
        kind = chosen_kind(config, len(candidates))
        if kind.place == SAVED_MODEL:
            remove(folder)
        else:
            keep(folder, kind, index, report, config, candidates)
    return index, report


def kept_index(assembly: Assembly, folder: Path) -> tuple[IndexConfig, CandidateIndex, IndexReport] | None:
    """The index that `tuned_index` kept in the folder; None if there is none, or it has other vectors."""
    return kept(folder, _candidates(assembly)) if folder.is_dir() else None


def _candidates(a: Assembly) -> np.ndarray:
    """float32 [n, dim]: the catalogue's vectors in an index."""
    if not a.weights.popularity:
        return a.candidate_vectors()
    weight = a.weights.popularity * a.model.temperature
    return searched_candidates(a.candidate_vectors(), a.log_popularity, weight).numpy()


def retriever(assembly: Assembly, index: CandidateIndex | None) -> Retriever:
    """The `Retriever` of a trained model, over an index of `tuned_index`."""
    a = assembly
    past, weight = None, a.weights.neighbours * a.model.temperature
    if weight:
        past = PastVectors(a.terms.neighbours.past, weight, a.recipe.model.neighbours.length)
    item_ids, vectors = a.log.items[c.ITEM_ID].take(a.catalogue), a.candidate_vectors()
    heads = [*heads_of(a.model).values()]
    return Retriever(
        a.model.query_tower, a.model.candidate_tower, vectors,
        key_tensor(item_ids, c.ITEM_ID), index,
        a.model.temperature, a.log_popularity,
        None if a.second_stage is None else a.second_stage.reranking(), a.weights.popularity,
        Similarity(vectors[:, : vectors.shape[1] - (past.dim if past else 0)], a.recipe.training.seed), a.repeats, past,
        np.stack(heads) if heads else None, a.new_users,
    )


def people(assembly: Assembly) -> People:
    """A sample of at most 1,000 users, drawn by the training's seed, each at the moment of the newest training event.

    In an update the events of earlier trainings count too.
    """
    a, known = assembly, assembly.split.known
    newest = np.full(a.log.users.num_rows, -1)
    newest[a.log.user[known]] = known  # of several rows of a user the last one stays
    rows = newest[newest >= 0]
    drawn = np.random.default_rng(a.recipe.training.seed).permutation(rows)[:_PEOPLE]
    vectors = a.query_vectors(np.sort(drawn))
    return People(vectors.reshape(-1, vectors.shape[-1]), len(known) / max(len(rows), 1))
