"""Exact, full-catalogue, tie-safe evaluation, with the baselines beside it."""

from tfrs_twotower.evaluation.baselines import (
    EASE,
    IALS,
    Baselines,
    BoughtBefore,
    ItemKNN,
    Popularity,
    TrainingEvents,
    history_matrix,
    item_counts,
    recent_counts,
)
from tfrs_twotower.evaluation.bootstrap import resampled_means
from tfrs_twotower.evaluation.collapse import Collapse, collapse
from tfrs_twotower.evaluation.config import EvaluationConfig
from tfrs_twotower.evaluation.evaluate import Evaluation, compare, evaluate, evaluate_each
from tfrs_twotower.evaluation.field_weights import field_weights
from tfrs_twotower.evaluation.interests import Interests, interests
from tfrs_twotower.evaluation.lists import Expected, compare_lists
from tfrs_twotower.evaluation.parts import Parts
from tfrs_twotower.evaluation.per_query import PerQuery, read_per_query, write_per_query
from tfrs_twotower.evaluation.plain import SCORE, PairScorer
from tfrs_twotower.evaluation.ranking import Ranking, rank
from tfrs_twotower.evaluation.report import metric_html, metric_table, paired_table, slice_table, view_table
from tfrs_twotower.evaluation.reranked import RerankedScorer
from tfrs_twotower.evaluation.sampled import ANSWERS, SampledAnswers
from tfrs_twotower.evaluation.scorers import DotScorer, Scorer, SumScorer
from tfrs_twotower.evaluation.tables import empty_table
from tfrs_twotower.evaluation.views import ALL, DISCOVERY, MANY, REPEATS, VIEWS, chosen, kept, repeat_share, viewed

__all__ = [
    "ALL",
    "ANSWERS",
    "Baselines",
    "BoughtBefore",
    "Collapse",
    "DISCOVERY",
    "DotScorer",
    "EASE",
    "Evaluation",
    "EvaluationConfig",
    "Expected",
    "IALS",
    "Interests",
    "ItemKNN",
    "MANY",
    "PairScorer",
    "Parts",
    "PerQuery",
    "Popularity",
    "REPEATS",
    "Ranking",
    "RerankedScorer",
    "SCORE",
    "SampledAnswers",
    "Scorer",
    "SumScorer",
    "TrainingEvents",
    "VIEWS",
    "chosen",
    "collapse",
    "compare",
    "compare_lists",
    "empty_table",
    "evaluate",
    "evaluate_each",
    "history_matrix",
    "field_weights",
    "interests",
    "item_counts",
    "kept",
    "metric_html",
    "metric_table",
    "paired_table",
    "rank",
    "read_per_query",
    "recent_counts",
    "repeat_share",
    "resampled_means",
    "slice_table",
    "view_table",
    "viewed",
    "write_per_query",
]
