"""The gate's rule, by construction."""

import numpy as np
import pytest

from tfrs_twotower.evaluation import PerQuery, compare
from tfrs_twotower.updates.gate import refusal


@pytest.mark.parametrize(("updated", "interval", "why"), [
    (0.27, (-0.061, 0.001), "fell from 0.3000 to 0.2700, by 10.0% where 1% is allowed"),  # was published once
    (0.2969, (-0.2, 0.2), "by 1.0% where 1% is allowed"),
    (0.2971, (-0.2, 0.2), None),
    (0.2985, (-0.002, -0.001), "less than 1%, but surely"),
    (0.2985, (-0.003, 0.0), None),
    (0.3, (0.0, 0.0), None),
    (0.33, (-0.01, 0.07), None),
])
def test_what_is_refused(updated, interval, why):
    found = refusal("ndcg@10", 0.3, updated, interval, "1,234 queries")
    assert found is None if why is None else why in found and "newest 1,234 queries" in found


def test_a_serving_version_that_finds_nothing_cannot_be_undercut():
    assert refusal("ndcg@10", 0.0, 0.0, (0.0, 0.0), "10 queries") is None


def test_a_loss_within_the_interval_of_few_queries_is_refused():
    """Of 30 queries the update loses two that the serving version found: the interval touches zero."""
    serving, updated = np.zeros(30), np.zeros(30)
    serving[:12], updated[2:12] = 1.0, 1.0
    found = compare(PerQuery({"hit_rate@10": updated}, "x"), PerQuery({"hit_rate@10": serving}, "x"))["hit_rate@10"]
    assert found["interval"][1] == 0.0  # what the rule was before would have published
    assert refusal("hit_rate@10", serving.mean(), updated.mean(), found["interval"], "30 queries")
