"""`sqlite:PATH`: users in a file, which is made if it is missing."""

from tfrs_twotower.online.address import SQLITE
from tfrs_twotower.online.history_store import Retention
from tfrs_twotower.online.sqlite_file import SqliteFile
from tfrs_twotower.online.sqlite_history import SqliteHistoryStore
from tfrs_twotower.online.sqlite_profiles import SqliteProfileStore
from tfrs_twotower.online.store_kind import StoreKind, Stores


class SqliteStore(StoreKind):
    """Users in an SQLite file."""

    schemes = (SQLITE,)

    @classmethod
    def stores(cls, address: str, retention: Retention, allow_loss: bool) -> Stores:
        """See `StoreKind.stores`."""
        file = SqliteFile(address.removeprefix(SQLITE))
        return Stores(SqliteHistoryStore(file, retention), SqliteProfileStore(file), retention)
