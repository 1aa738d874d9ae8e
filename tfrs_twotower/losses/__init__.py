"""Losses: pure functions on [batch, candidates] scores."""

from tfrs_twotower.losses.sampled_softmax import sampled_softmax

__all__ = ["sampled_softmax"]
