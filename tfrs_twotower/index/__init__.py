"""Indexes over candidate vectors, tuned to a measured recall; one that changes; Faiss and Milvus by the same calls."""

from tfrs_twotower.index.block_max import masked_top_k, top_k
from tfrs_twotower.index.candidate_index import CandidateIndex, TopK
from tfrs_twotower.index.config import IndexConfig
from tfrs_twotower.index.exact import Exact
from tfrs_twotower.index.exclusion import contains, exclude
from tfrs_twotower.index.faiss import FaissHNSW, FaissIVF, FaissIVFPQ
from tfrs_twotower.index.interests import search_interests
from tfrs_twotower.index.item_index import Found, ItemIndex
from tfrs_twotower.index.ivf import IVF
from tfrs_twotower.index.memory import estimate_bytes
from tfrs_twotower.index.milvus import MilvusIndex
from tfrs_twotower.index.mutable import Delta, Journal, MutableIndex
from tfrs_twotower.index.scann import ScaNN
from tfrs_twotower.index.tfrs_layers import IndexTopK
from tfrs_twotower.index.tuning import IndexReport, build

__all__ = [
    "CandidateIndex", "Delta", "Exact", "FaissHNSW", "FaissIVF", "FaissIVFPQ", "Found", "IVF", "IndexConfig",
    "IndexReport", "IndexTopK", "ItemIndex", "Journal", "MilvusIndex", "MutableIndex", "ScaNN", "TopK", "build",
    "contains", "estimate_bytes", "exclude", "masked_top_k", "search_interests", "top_k",
]
