"""Sampling: the sources of negatives, the expected count of each candidate, and masks of false negatives."""

from tfrs_twotower.sampling.config import NoLogQ, StaticLogQ, StreamingLogQ
from tfrs_twotower.sampling.hard import HardNegatives
from tfrs_twotower.sampling.logq import NoCorrection, StaticCorrection, build_logq
from tfrs_twotower.sampling.masks import same_item, user_positives
from tfrs_twotower.sampling.negatives import (
    CrossBatch,
    Drawn,
    Explicit,
    Hard,
    InBatch,
    Negatives,
    NegativeSource,
    Popular,
    Uniform,
)
from tfrs_twotower.sampling.streaming import StreamingCorrection

__all__ = [
    "CrossBatch",
    "Drawn",
    "Explicit",
    "Hard",
    "HardNegatives",
    "InBatch",
    "NegativeSource",
    "Negatives",
    "NoCorrection",
    "NoLogQ",
    "Popular",
    "StaticCorrection",
    "StaticLogQ",
    "StreamingCorrection",
    "StreamingLogQ",
    "Uniform",
    "build_logq",
    "same_item",
    "user_positives",
]
