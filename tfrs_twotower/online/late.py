"""Stores that may not answer yet. They are opened as soon as they do, so that a server can start before them."""

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from tfrs_twotower.online.store_kind import StoreError, StoreUnavailable

_T = TypeVar("_T")
_RETRY_SECONDS = 1.0


class Late(Generic[_T]):
    """Opens an object now or, if it is unavailable, when it is needed: at most once a second.

    Args:
      open: makes the object. If it raises `StoreUnavailable`, it is called again later. Other errors go through: in the
        constructor they are errors of the address or of the settings.
    """

    def __init__(self, open: Callable[[], _T]) -> None:
        self._open, self._lock = open, threading.Lock()
        self._opened: _T | None = None
        self._try()

    def get(self) -> _T:
        """The object. Raises `StoreUnavailable` while it cannot be opened."""
        if self._opened is None and self._lock.acquire(blocking=False):  # other threads do not wait for a connection
            try:
                if self._opened is None and time.monotonic() - self._tried > _RETRY_SECONDS:
                    self._try()
            finally:
                self._lock.release()
        if self._opened is None:
            raise StoreUnavailable(self._failure)
        return self._opened

    def part(self, name: str = "") -> Any:
        """An object with the methods of the opened one, or of its attribute `name`. Only `close` opens nothing."""
        return _Part(self, name)

    def close(self, name: str) -> None:
        """Closes the object, or its attribute `name`, if it is open."""
        if self._opened is not None:
            cast(Any, getattr(self._opened, name) if name else self._opened).close()

    def _try(self) -> None:
        try:
            self._opened = self._open()
        except StoreError as error:
            self._failure = str(error)
            if not isinstance(error, StoreUnavailable):
                raise
        finally:
            self._tried = time.monotonic()


class _Part:
    def __init__(self, late: Late[Any], name: str) -> None:
        self._late, self._name = late, name

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            found = self._late.get()
            return getattr(getattr(found, self._name) if self._name else found, method)(*arguments, **named)

        return call

    def close(self) -> None:
        self._late.close(self._name)
