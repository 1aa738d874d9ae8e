"""Rerankers: models that rescore the retrieved top, inside the SavedModel. No index can search with them."""

from tfrs_twotower.rerankers.cold import COLD
from tfrs_twotower.rerankers.loss import RerankerLoss
from tfrs_twotower.rerankers.neural_cf import NeuralCF
from tfrs_twotower.rerankers.reranker import Reranker, RerankerConfig
from tfrs_twotower.rerankers.reranking import Reranking, added, overlap, reorder

__all__ = ["COLD", "NeuralCF", "Reranker", "RerankerConfig", "RerankerLoss", "Reranking", "added", "overlap", "reorder"]
