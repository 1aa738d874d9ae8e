"""The data of users that a server keeps between requests: events, profiles, vectors.

A `HistoryStore` keeps events, a `ProfileStore` users' columns, each in a SQLite file or in Redis; `open_stores`
opens both by an address, whose scheme names a `StoreKind`. A `UserVectorCache` keeps query vectors, in the process or
in Redis.
"""

from tfrs_twotower.online.events import MAX_ID_BYTES, Event, read_event
from tfrs_twotower.online.history_store import HistoryStore, Retention
from tfrs_twotower.online.load import count_kept, is_loaded, load_log
from tfrs_twotower.online.profile_store import ProfileStore, put_table
from tfrs_twotower.online.sqlite import SqliteFile, SqliteHistoryStore, SqliteProfileStore
from tfrs_twotower.online.store_kind import StoreError, StoreKind, StoreUnavailable, without_password
from tfrs_twotower.online.stores import Stores, open_cache, open_stores
from tfrs_twotower.online.vector_cache import LruVectorCache, UserVectorCache, vector_keys

__all__ = [
    "MAX_ID_BYTES",
    "Event",
    "HistoryStore",
    "LruVectorCache",
    "ProfileStore",
    "Retention",
    "SqliteFile",
    "SqliteHistoryStore",
    "SqliteProfileStore",
    "StoreError",
    "StoreKind",
    "StoreUnavailable",
    "Stores",
    "UserVectorCache",
    "count_kept",
    "is_loaded",
    "load_log",
    "open_cache",
    "open_stores",
    "put_table",
    "read_event",
    "vector_keys",
    "without_password",
]
