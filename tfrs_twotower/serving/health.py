"""What works of a server's surroundings: stores, cache, items. A server answers without them, and says so."""

import dataclasses
import logging
import threading
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple, TypeVar, cast

from tfrs_twotower.channels import Channel
from tfrs_twotower.online import StoreError, Stores, StoreUnavailable, UserVectorCache
from tfrs_twotower.serving.current_items import ItemChanges
from tfrs_twotower.serving.metrics import Metrics, current

_T = TypeVar("_T")
_PROBE_SECONDS = 1.0
_log = logging.getLogger(__name__)


class _Failure(NamedTuple):
    method: str
    error: StoreError

    @property
    def unavailable(self) -> bool:
        """Whether the whole part does not answer."""
        return isinstance(self.error, StoreUnavailable)


class _Probe(NamedTuple):
    run: Callable[[], object]
    methods: Collection[str]  # that work if it does
    ahead: bool  # no request calls what does not answer it


class Health:
    """The parts that fail at present, by the outcome of their last calls. Each change is logged and counted once.

    A part that failed is probed every second, so it is known to work again without a request.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._lock, self._stop = metrics, threading.Lock(), threading.Event()
        self._failures: dict[str, _Failure] = {}
        self._probes: dict[str, _Probe] = {}
        self._thread: threading.Thread | None = None

    def watched(
        self, part: str, thing: _T, probe: Callable[[], object] | None = None, methods: Collection[str] = (),
        ahead: bool = False,
    ) -> _T:
        """`thing`, with each call noted as one of `part`.

        Args:
          part: its name in /readyz and in the log.
          thing: an object whose methods may raise `StoreError`.
          probe: raises `StoreError` while the part fails. None: only the next call tells that it works again.
          methods: the methods that work if `probe` does.
          ahead: while the part does not answer `probe`, a call raises its error at once, and so do the other calls of a
            request in which such a part did not answer. Servers that hang would hold each request for seconds.
        """
        if probe is not None:
            self._probes[part] = _Probe(probe, methods, ahead)
        self._metrics.degraded(part, False)
        return cast(_T, _Watched(self, part, thing))

    def watched_all(
        self, stores: Stores | None, cache: UserVectorCache | None, fresh: ItemChanges | None,
        channels: Iterable[Channel],
    ) -> tuple[Stores | None, UserVectorCache | None, ItemChanges | None, list[Channel]]:
        """The arguments of `Server`, watched as "store", "profiles", "cache", "items" and "channel NAME"."""
        if stores is not None:
            history, profiles = stores.history, stores.profiles
            stores = dataclasses.replace(
                stores,
                history=self.watched("store", history, lambda: history.last([""], 1), ("last", "items"), ahead=True),
                profiles=self.watched("profiles", profiles, lambda: profiles.get([""]), ("get",), ahead=True),
            )
        if cache is not None:
            get = cache.get
            cache = self.watched("cache", cache, lambda: get([b""]), ("get", "put"), ahead=True)
        if fresh is not None:
            check = getattr(fresh, "check", None)  # of `FreshItems`; one of the caller's own may have none
            fresh = self.watched("items", fresh, check, ("record", "check"))
        return stores, cache, fresh, [self.watched(f"channel {channel.name}", channel) for channel in channels]

    def degraded(self) -> list[str]:
        """The parts that fail, sorted."""
        return sorted(self._failures)

    def start(self) -> None:
        """Probes all parts once, then those that fail, in a thread."""
        self._probe(self._probes)
        self._thread = threading.Thread(target=self._follow, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def call(self, part: str, methods: Collection[str], function: Callable[[], _T], probe: bool = False) -> _T:
        """Calls a function of a part, and notes the outcome for the `methods` that it stands for.

        If a part that did not answer answers a `probe`, all of its methods count as working.
        """
        try:
            result = function()
        except StoreError as error:
            with self._lock:
                known = part in self._failures
                self._failures[part] = _Failure(next(iter(methods), ""), error)
            if not known:
                self._metrics.degraded(part, True)
                _log.error("Degraded: %s fails: %s", part, error)
            raise
        failure = self._failures.get(part)
        if failure is not None and (failure.method in methods or probe and failure.unavailable):
            with self._lock:
                known = self._failures.pop(part, None) is not None
            if known:
                self._metrics.degraded(part, False)
                _log.warning("No longer degraded: %s works again", part)
        return result

    def ask(self, part: str, method: str, function: Callable[[], _T]) -> _T:
        """As `call`, for a request; see `ahead` of `watched`."""
        failure, probe = self._failures.get(part), self._probes.get(part)
        away = failure is not None and probe is not None and failure.unavailable and failure.method in probe.methods
        ahead = probe is not None and probe.ahead and self._thread is not None
        if ahead and away:
            raise StoreUnavailable(str(failure.error))
        if ahead and (error := current().unavailable) is not None:
            raise StoreUnavailable(str(error))  # one that hangs has held the request long enough
        try:
            return self.call(part, (method,), function)
        except StoreUnavailable as error:
            if ahead:
                current().unavailable = error
            raise

    def _follow(self) -> None:
        while not self._stop.wait(_PROBE_SECONDS):
            self._probe([part for part in self.degraded() if part in self._probes])

    def _probe(self, parts: Collection[str]) -> None:
        for part in parts:
            probe = self._probes[part]
            try:
                self.call(part, probe.methods, probe.run, probe=True)
            except StoreError:
                pass
            except Exception:  # of a store of one's own; the thread must survive it
                _log.exception("%s cannot be probed", part)


class _Watched:
    def __init__(self, health: Health, part: str, thing: Any) -> None:
        self._health, self._part, self._thing = health, part, thing

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._thing, name)
        if not callable(value):
            return value
        return lambda *arguments, **named: self._health.ask(self._part, name, lambda: value(*arguments, **named))
