"""Exporting: one SavedModel directory per version, checked against the model in memory."""

from tfrs_twotower.durable import checksum
from tfrs_twotower.exporting.behind import PastVectors, searched_candidates, searched_queries
from tfrs_twotower.exporting.export import INDEX, PORTABLE, SCANN, export
from tfrs_twotower.exporting.manifest import MANIFEST, read, versions
from tfrs_twotower.exporting.moving import Moving
from tfrs_twotower.exporting.people import People
from tfrs_twotower.exporting.publishing import next_version
from tfrs_twotower.exporting.retriever import Retriever
from tfrs_twotower.exporting.signatures import BY_ROW, SEARCHES, signatures
from tfrs_twotower.exporting.signing import Key, Seal
from tfrs_twotower.exporting.similarity import Similarity, measured, unit

__all__ = [
    "BY_ROW",
    "INDEX",
    "Key",
    "MANIFEST",
    "Moving",
    "PORTABLE",
    "PastVectors",
    "People",
    "Retriever",
    "SCANN",
    "SEARCHES",
    "Seal",
    "Similarity",
    "checksum",
    "export",
    "measured",
    "next_version",
    "read",
    "searched_candidates",
    "searched_queries",
    "signatures",
    "unit",
    "versions",
]
