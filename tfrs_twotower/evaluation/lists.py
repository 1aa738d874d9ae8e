"""What the lists of two models can expect, from what people chose in lists that one of the models made."""

import dataclasses

import numpy as np
from scipy.special import ndtri

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.evaluation.bootstrap import resampled_means
from tfrs_twotower.evaluation.scorers import Scorer

_BLOCK = 2**22  # scores at a time
_RCOND = 1e-9  # two models with the same order have one column, not two


@dataclasses.dataclass(frozen=True)
class Expected:
    """The outcome of `compare_lists`.

    Attributes:
      first, second: the share of the items of a list that its reader is expected to choose, for each model's lists.
      interval: 95% bootstrap interval of second − first, over answers.
      answers: their number.
    """

    first: float
    second: float
    interval: tuple[float, float]
    answers: int


def compare_lists(
    first: Scorer, second: Scorer, items: Ragged, chosen: np.ndarray, exclude: Ragged | None = None,
    bootstrap: int = 1000, seed: int = 0,
) -> Expected:
    """Compares the lists that two models would show, by answers that were shown, whoever made them.

    Items are shown because a model ranks them high. So to count which model finds the chosen ones favours the model
    that showed them. To count which model orders a list better favours the other one: the first model's scores of its
    own best items are all high, and tell little. A regression has neither fault, as selecting rows by an explaining
    variable does not bias its coefficients. So by least squares within answers, the choice (1 or 0) of each item that
    was seen is explained by two numbers: its rank in the whole catalogue, by each model, as a normal quantile. The two
    coefficients then say what the best items of either model can expect (the "direct method" of Dudík et al.,
    arXiv 1103.4601, with a linear model). What the coefficients cannot say is that clicks are no straight line in the
    quantiles.

    Args:
      first, second: `Scorer`s of the same answers and candidates, a query for each answer.
      items: `Ragged`: candidate positions that were seen in each answer; at least two.
      chosen: bool [items]: those that were chosen.
      exclude: `Ragged`: candidate positions that neither model would show, unless they are in `items`; or None.
      bootstrap: replicates, over answers.
      seed: of the bootstrap.
    """
    sums = _of_answers((first, second), items, chosen, exclude)
    lists = _expected(np.concatenate([sums.mean(axis=0, keepdims=True), resampled_means(sums, bootstrap, seed)]))
    low, high = np.percentile(lists[1:, 1] - lists[1:, 0], [2.5, 97.5])
    return Expected(float(lists[0, 0]), float(lists[0, 1]), (float(low), float(high)), len(sums))


def _of_answers(
    models: tuple[Scorer, Scorer], items: Ragged, chosen: np.ndarray, exclude: Ragged | None
) -> np.ndarray:
    """float64 [answers, 11]: what the least squares and `_expected` sum up."""
    sums, step = [], max(_BLOCK // models[0].catalogue, 1)
    for start in range(0, len(items), step):
        stop = min(start + step, len(items))
        scores = [np.array(model.scores(start, stop), np.float32) for model in models]
        for at in range(start, stop):
            seen = items.row(at)
            if exclude is not None:
                for table in scores:
                    table[at - start, np.setdiff1d(exclude.row(at), seen)] = -np.inf
            picked = chosen[items.offsets[at]:items.offsets[at + 1]].astype(np.float64)
            sums.append(_of_answer([table[at - start] for table in scores], seen, picked))
    return np.stack(sums)


def _of_answer(scores: list[np.ndarray], seen: np.ndarray, picked: np.ndarray) -> np.ndarray:
    """float64 [11]: squares [2, 2], products [2], share chosen, and each list's mean place against that seen [2, 2]."""
    size = len(seen)
    lists = [np.argpartition(-row, size - 1)[:size] for row in scores]
    place = np.stack([_quantile(row, np.concatenate([seen, *lists])) for row in scores], axis=1)
    mean, share = place[:size].mean(axis=0), picked.mean()
    apart = place[:size] - mean
    best = place[size:].reshape(2, size, 2).mean(axis=1) - mean
    return np.concatenate([(apart.T @ apart).ravel(), apart.T @ (picked - share), [share], best.ravel()])


def _quantile(scores: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """float64 [positions]: the normal quantiles of their ranks among all scores; ties share a rank."""
    ordered, wanted = np.sort(scores), scores[positions]
    below = np.searchsorted(ordered, wanted, "left") + np.searchsorted(ordered, wanted, "right")
    return ndtri(below / (2 * len(scores)))


def _expected(sums: np.ndarray) -> np.ndarray:
    """float64 [n, 2]: the share chosen of each model's lists, of n means of `_of_answer`."""
    squares, products = sums[:, :4].reshape(-1, 2, 2), sums[:, 4:6, np.newaxis]
    coefficients = np.linalg.pinv(squares, rcond=_RCOND, hermitian=True) @ products
    return sums[:, 6:7] + (sums[:, 7:].reshape(-1, 2, 2) @ coefficients)[..., 0]
