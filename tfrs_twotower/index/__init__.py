"""Indexes over candidate vectors, tuned to a measured recall; Faiss and Milvus alike."""

from tfrs_twotower.index.candidate_index import CandidateIndex, TopK, masked_top_k, top_k
from tfrs_twotower.index.config import IndexConfig
from tfrs_twotower.index.exact import Exact, ExactKind
from tfrs_twotower.index.exclusion import contains, exclude
from tfrs_twotower.index.faiss import FaissHNSW, FaissHNSWKind, FaissIVF, FaissIVFKind, FaissIVFPQ, FaissIVFPQKind
from tfrs_twotower.index.interests import merged, search_interests
from tfrs_twotower.index.ivf import IVF, IVFKind
from tfrs_twotower.index.kept import keep, kept, kept_config, remove
from tfrs_twotower.index.kind import REMOTE, SAVED_MODEL, SERVER, IndexKind, Sweep, kind_of, op_libraries
from tfrs_twotower.index.memory import estimate_bytes
from tfrs_twotower.index.milvus import Found, MilvusIndex
from tfrs_twotower.index.milvus_kind import MilvusKind, MilvusRows
from tfrs_twotower.index.scann import ScaNN, ScaNNKind, searchers_end_with
from tfrs_twotower.index.sharded import Part, Sharded, ShardedKind, best_of_parts, in_whole
from tfrs_twotower.index.tfrs_layers import IndexTopK
from tfrs_twotower.index.tuning import IndexReport, build, chosen_kind

__all__ = [
    "CandidateIndex", "Exact", "ExactKind", "FaissHNSW", "FaissHNSWKind", "FaissIVF", "FaissIVFKind", "FaissIVFPQ",
    "FaissIVFPQKind", "Found", "IVF", "IVFKind", "IndexConfig", "IndexKind", "IndexReport", "IndexTopK", "MilvusIndex",
    "MilvusKind", "MilvusRows", "Part", "REMOTE", "SAVED_MODEL", "SERVER", "ScaNN", "ScaNNKind", "Sharded",
    "ShardedKind", "Sweep", "TopK", "best_of_parts", "build", "chosen_kind", "contains", "estimate_bytes", "exclude",
    "in_whole", "keep", "kept", "kept_config", "kind_of", "masked_top_k", "merged", "op_libraries", "remove",
    "search_interests", "searchers_end_with", "top_k",
]
