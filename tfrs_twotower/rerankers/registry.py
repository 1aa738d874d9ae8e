"""The rerankers that a model can have. To add one: one file, one line here, one recipe."""

from tfrs_twotower.rerankers.cold import COLD, COLDReranker
from tfrs_twotower.rerankers.neural_cf import NeuralCF, NeuralCFReranker

# configuration: layer(configuration, query tower, candidate tower, seed), a `Reranker`
RERANKERS = {NeuralCF: NeuralCFReranker, COLD: COLDReranker}


def build_reranker(config, query_tower, candidate_tower, seed=0):
    """The `Reranker` of a configuration."""
    return RERANKERS[type(config)](config, query_tower, candidate_tower, seed)
