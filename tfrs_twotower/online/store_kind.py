"""The base of kinds of stores: address schemes, the stores that they open, and the error of all stores."""

import dataclasses
from typing import ClassVar

from tfrs_twotower.errors import TwoTowerError
from tfrs_twotower.modules import own_class, subclasses
from tfrs_twotower.online.history_store import HistoryStore, Retention
from tfrs_twotower.online.profile_store import ProfileStore
from tfrs_twotower.online.vector_cache import UserVectorCache

SQLITE = "sqlite:"
REDIS = ("redis://", "rediss://", "unix://")


class StoreError(TwoTowerError, RuntimeError):
    """A store cannot be opened, read or written, or would not keep what it acknowledges."""


class StoreUnavailable(StoreError):
    """A store does not answer, or its disk refuses. It may work later: a server may start without it."""


@dataclasses.dataclass(frozen=True)
class Stores:
    """A `HistoryStore` and a `ProfileStore` of the same users; `retention` is the history's.

    picks: the column of the profiles with the items that a user picked at sign-up; None: they are not read.
    """

    history: HistoryStore
    profiles: ProfileStore
    retention: Retention
    picks: str | None = None

    def close(self) -> None:
        """Closes both."""
        self.profiles.close()
        self.history.close()


class StoreKind:
    """A kind of store. To add one, derive from this class: an address that begins with one of `schemes` opens it.

    Attributes:
      schemes: beginnings of addresses, such as "sqlite:" or "redis://". A class is also found by its import path,
        `module.Class:REST`; its methods then get REST.
    """

    schemes: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def stores(cls, address: str, retention: Retention, allow_loss: bool) -> Stores:
        """Opens the `Stores` at an address; see `open_stores`."""
        raise StoreError(f"{cls.__name__} keeps no users. Name another address for the store.")

    @classmethod
    def cache(cls, address: str) -> UserVectorCache:
        """Opens the `UserVectorCache` at an address; see `open_cache`."""
        raise StoreError(f"{cls.__name__} keeps no vectors. Name a number of vectors to keep in this process.")


def kind_at(address: str) -> tuple[type[StoreKind], str] | None:
    """(the `StoreKind` of an address, the argument of its methods); None if no kind has such addresses.

    Raises:
      StoreError: the address names a class that cannot be imported or is none.
    """
    for cls in subclasses(StoreKind):
        if cls.schemes and address.startswith(cls.schemes):
            return cls, address
    path, separator, rest = address.partition(":")
    if not (separator and "." in path and all(part.isidentifier() for part in path.split("."))):
        return None
    return own_class(path, StoreKind, StoreError, "The store", " A server of Redis is redis://HOST:PORT."), rest


def without_password(address: str) -> str:
    """The address as a message or a log may show it."""
    if not address.startswith(REDIS):
        return address
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}".partition("?")[0]
