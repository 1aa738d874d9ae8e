"""From a trained run to the plain values of its report."""

from tfrs_twotower.pipeline.gathering.compared import compared
from tfrs_twotower.pipeline.gathering.gathered import gathered, of_popularity
from tfrs_twotower.pipeline.gathering.projector import write_projector

__all__ = ["compared", "gathered", "of_popularity", "write_projector"]
