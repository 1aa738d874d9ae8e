"""Sources → one interaction log → splits → histories → the order of the batches.

Nothing here imports TensorFlow before a source that needs it is read.
"""

from tfrs_twotower.data.appending import append
from tfrs_twotower.data.checking import IngestReport, Rules
from tfrs_twotower.data.excerpt import ReadOnce, excerpt
from tfrs_twotower.data.history import UserHistories, check_kinds, of_kinds
from tfrs_twotower.data.ingest import ingest
from tfrs_twotower.data.kept import has_log, keep_log, read_log
from tfrs_twotower.data.log import InteractionLog
from tfrs_twotower.data.order import Batches, Stretches, batch_count
from tfrs_twotower.data.popularity import log_popularity
from tfrs_twotower.data.preparing import DuckDB, Engine, Spark, append_prepared, prepare
from tfrs_twotower.data.preparing.dataset import is_prepared
from tfrs_twotower.data.queries import Queries, QueryBuilder
from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.data.searches import UserSearches
from tfrs_twotower.data.source import Columns, Source
from tfrs_twotower.data.sources.files import Files
from tfrs_twotower.data.sources.frames import Frames
from tfrs_twotower.data.sources.joined import Joined, joined, last_part, parts_of
from tfrs_twotower.data.sources.movielens import MovieLens
from tfrs_twotower.data.sources.prepared import Prepared
from tfrs_twotower.data.sources.synthetic import Planted, synthetic
from tfrs_twotower.data.sources.text_vectors import TextVectors, text_vectors
from tfrs_twotower.data.sources.tfds import Tfds
from tfrs_twotower.data.sources.tfrecord import TFRecords, write_tfrecords
from tfrs_twotower.data.split import (
    LeaveLastOut,
    Newest,
    RandomHoldout,
    RandomPerUser,
    Split,
    Splitter,
    Temporal,
    UserHeldOut,
)
from tfrs_twotower.data.unchosen import Searched, Shown

__all__ = [
    "Batches",
    "Columns",
    "DuckDB",
    "Engine",
    "Files",
    "Frames",
    "UserHistories",
    "IngestReport",
    "InteractionLog",
    "Joined",
    "LeaveLastOut",
    "MovieLens",
    "Newest",
    "Planted",
    "Prepared",
    "Queries",
    "QueryBuilder",
    "Ragged",
    "RandomHoldout",
    "RandomPerUser",
    "ReadOnce",
    "Rules",
    "Searched",
    "Shown",
    "Source",
    "Spark",
    "Split",
    "Splitter",
    "Stretches",
    "TFRecords",
    "Temporal",
    "TextVectors",
    "Tfds",
    "UserHeldOut",
    "UserSearches",
    "append",
    "append_prepared",
    "batch_count",
    "check_kinds",
    "excerpt",
    "has_log",
    "ingest",
    "is_prepared",
    "joined",
    "keep_log",
    "last_part",
    "log_popularity",
    "of_kinds",
    "parts_of",
    "prepare",
    "read_log",
    "synthetic",
    "text_vectors",
    "write_tfrecords",
]
