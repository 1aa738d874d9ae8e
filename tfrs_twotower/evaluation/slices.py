"""The slices of targets: by the item's popularity, cold or warm items, cold or warm users."""

from collections.abc import Sequence

import numpy as np

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.errors import EvaluationError, invalid
from tfrs_twotower.evaluation.views import query_rows

DECILES = 10


def popularity_deciles(train_counts: np.ndarray | Sequence[int]) -> np.ndarray:
    """int [n]: 1 (least popular) to 10 by training count.

    decile = 1 + ⌊10 · (candidates with a smaller count) / n⌋, so equal counts share a decile and, where many
    items have the same count, the deciles above theirs are empty.
    """
    counts = np.asarray(train_counts)
    smaller = np.searchsorted(np.sort(counts), counts, side="left")
    return 1 + DECILES * smaller // len(counts)


def slice_masks(
    targets: Ragged, train_counts: np.ndarray | Sequence[int] | None,
    cold_users: np.ndarray | Sequence[bool] | None = None,
) -> dict[str, np.ndarray]:
    """{slice name: bool [targets]}: the targets that count in a slice; empty slices are left out.

    `item_decile_1` … `item_decile_10`: the target's popularity decile. `cold_items`: targets with no
    training event, or outside the catalogue; `warm_items`: the others. `cold_users` and `warm_users` (only
    with `cold_users`, bool [q]): all targets of users without, or with, training events. Without `train_counts`
    there are no slices by item.
    """
    masks = {} if train_counts is None else _by_item(np.asarray(targets.values), np.asarray(train_counts))
    if cold_users is not None:
        cold_users = np.asarray(cold_users, bool)
        size = len(targets.offsets) - 1
        if cold_users.shape != (size,):
            raise EvaluationError(
                invalid("cold_users", f"have shape ({size},)", cold_users.shape, "Pass one flag per query.")
            )
        cold = cold_users[query_rows(targets)]
        masks.update(cold_users=cold, warm_users=~cold)
    return {name: mask for name, mask in masks.items() if mask.any()}


def _by_item(values: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    known = values >= 0
    decile = np.where(known, popularity_deciles(counts)[values], 0)
    warm = known & (counts[values] > 0)
    masks = {f"item_decile_{d}": decile == d for d in range(1, DECILES + 1)}
    return {**masks, "cold_items": ~warm, "warm_items": warm}
