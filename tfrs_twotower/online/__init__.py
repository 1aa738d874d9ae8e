"""The data of users that a server keeps between requests: events, profiles, vectors.

A `HistoryStore` keeps events, a `ProfileStore` users' columns, each in a SQLite file or in Redis; `open_stores`
opens both by an address, whose scheme names a `StoreKind`. A `UserVectorCache` keeps query vectors, in the process or
in Redis. An `AnswerLog` keeps what a server answered, and what of it was seen.
"""

from tfrs_twotower.online.answer_files import SHADOW, read_answers, read_seen
from tfrs_twotower.online.answer_log import Answer, AnswerLog, Impression, new_answer_id, read_impression
from tfrs_twotower.online.archive import Archive, ArchivedHistory
from tfrs_twotower.online.collecting import Collected, collect, collected_columns, is_collected
from tfrs_twotower.online.events import MAX_ID_BYTES, Event, read_event, read_id
from tfrs_twotower.online.feedback import feedback
from tfrs_twotower.online.history_store import HistoryAround, HistoryStore, Retention
from tfrs_twotower.online.load import count_kept, is_loaded, load_log
from tfrs_twotower.online.profile_store import ProfileStore, put_table
from tfrs_twotower.online.sqlite import SqliteFile, SqliteHistoryStore, SqliteProfileStore
from tfrs_twotower.online.store_kind import StoreError, StoreKind, StoreUnavailable, kind_at, without_password
from tfrs_twotower.online.store_source import Store
from tfrs_twotower.online.stores import Stores, open_cache, open_stores
from tfrs_twotower.online.vector_cache import LruVectorCache, UserVectorCache, vector_keys

__all__ = [
    "MAX_ID_BYTES",
    "SHADOW",
    "Answer",
    "AnswerLog",
    "Archive",
    "ArchivedHistory",
    "Collected",
    "Event",
    "HistoryAround",
    "HistoryStore",
    "Impression",
    "LruVectorCache",
    "ProfileStore",
    "Retention",
    "SqliteFile",
    "SqliteHistoryStore",
    "SqliteProfileStore",
    "Store",
    "StoreError",
    "StoreKind",
    "StoreUnavailable",
    "Stores",
    "UserVectorCache",
    "collect",
    "collected_columns",
    "count_kept",
    "feedback",
    "is_collected",
    "is_loaded",
    "kind_at",
    "load_log",
    "new_answer_id",
    "open_cache",
    "open_stores",
    "put_table",
    "read_answers",
    "read_event",
    "read_id",
    "read_impression",
    "read_seen",
    "vector_keys",
    "without_password",
]
