"""Rerankers: what no index can search by, applied to the retrieved top alone, inside the SavedModel."""

from tfrs_twotower.rerankers.cold import COLD
from tfrs_twotower.rerankers.loss import RerankerLoss
from tfrs_twotower.rerankers.neural_cf import NeuralCF
from tfrs_twotower.rerankers.reranker import Reranker, RerankerConfig
from tfrs_twotower.rerankers.reranking import Reranking, added, overlap, reorder

__all__ = ["COLD", "NeuralCF", "Reranker", "RerankerConfig", "RerankerLoss", "Reranking", "added", "overlap", "reorder"]
