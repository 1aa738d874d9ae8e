"""The versions of one model: found on disk, checked, loaded aside, swapped in, and let go."""

import contextlib
import dataclasses
import enum
import gc
import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator

from tfrs_twotower.errors import IndexingError, TwoTowerError, invalid
from tfrs_twotower.exporting import integrity, user_deltas
from tfrs_twotower.index import IndexKind
from tfrs_twotower.serving.current_items import ItemChanges
from tfrs_twotower.serving.errors import NotFound, Unavailable
from tfrs_twotower.serving.model import LoadedModel, Runner, call, ready, with_user_rows

_log = logging.getLogger(__name__)
_VERSION = re.compile(r"0|[1-9][0-9]{0,17}")


class State(enum.Enum):
    """TF Serving's `ModelVersionStatus.State`. A version passes through them in this order."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """Where a version stands. `error` says why what is on disk was refused; "" otherwise.

    AVAILABLE with an error: the files of a version changed and were refused, or newer rows of users were; what was
    loaded before goes on.
    """

    version: int
    state: State
    error: str = ""


@dataclasses.dataclass
class _Served:
    model: LoadedModel
    identity: str | None  # of the files it came from
    user_rows: tuple = ()  # stamp of the deltas of user rows that were looked at last
    rows_error: str = ""  # why they were refused
    in_flight: int = 0
    retired: bool = False


class Repository:
    """Serves the newest `keep` whole versions under `root`, and follows the folder.

    A version is a folder whose name is an integer. It is loaded once its manifest and checksums are
    right; what is wrong is refused, with the reason in the log and in `statuses`, and looked at again
    when its files change. A version whose manifest changes, as when the root is a link that moves to
    another run, is loaded aside and swapped in like a new one. To take back an answer, publish a higher
    number (`updates.roll_back` does): a lower one never replaces it. A version keeps serving when its
    folder vanishes, until a newer one replaces it.

    Args:
      root: the folder of the version folders. It may be empty or missing at first.
      keep: how many versions to serve. One more is in memory while a new one loads.
      poll_seconds: how often to look.
      on_status: called with each new `VersionStatus`, under a lock: it must be quick and not call back.
      call: runs a warm-up request as the server runs requests: (model, signature, tensors) → outputs.
      warm: called with each `LoadedModel` after its warm-up requests, before it answers.
      fresh: `ItemChanges` that each version is attached to before it answers and detached from after; or None.
      index: the `IndexKind` outside of the SavedModel that each version is searched by; None: as each export has it.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        keep: int = 1,
        poll_seconds: float = 1.0,
        on_status: Callable[[VersionStatus], None] = lambda status: None,
        call: Runner = call,
        fresh: ItemChanges | None = None,
        warm: Callable[[LoadedModel], None] = lambda model: None,
        index: IndexKind | None = None,
    ) -> None:
        if keep < 1:
            raise ValueError(invalid("keep", "be at least 1", keep, "Keep one version or more."))
        self.root = os.fspath(root)
        self.keep = keep
        self.poll_seconds = poll_seconds
        self._on_status = on_status
        self._call = call
        self._fresh = fresh
        self._warm = warm
        self._index = index
        self._lock = threading.Lock()  # guards what follows
        self._serving = {}
        self._statuses = {}
        self._garbage = []  # models that answer no more
        self._refused = {}  # version: fingerprint; touched by `poll` only
        self._root_error: str | None = None
        self._polling = threading.Lock()  # one poll at a time
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Loads what is there, then follows the folder in a thread until `close`."""
        self.poll()
        self._thread = threading.Thread(target=self._follow, name="repository", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops following the folder and unloads every version; requests in flight finish."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            for version in list(self._serving):
                self._retire(version)
        self._collect()

    def poll(self) -> None:
        """Looks at the folder once: loads what is new and whole, newest first; unloads what it replaces."""
        with self._polling:
            found = self._find()
            for version in sorted(found, reverse=True):
                if version in self._serving:
                    if self._unchanged(version, found[version]):
                        continue
                elif sum(served > version for served in self._serving) >= self.keep:
                    break
                self._try(version, found[version])
            for version in set(found).intersection(self.available()):
                self._follow_user_rows(version, os.path.dirname(found[version]))
            self._forget(found)
            self._collect()

    def statuses(self) -> list[VersionStatus]:
        """The status of every version that is on disk or in memory, oldest first."""
        with self._lock:
            return [self._statuses[v] for v in sorted(self._statuses)]

    def available(self) -> list[int]:
        """The versions that can be asked, oldest first."""
        with self._lock:
            return sorted(self._serving)

    @contextlib.contextmanager
    def lease(self, version: int | None = None) -> Iterator[LoadedModel]:
        """Holds a version (the newest by default) for one request; it is not unloaded meanwhile.

        Yields:
          Its `LoadedModel`.

        Raises:
          Unavailable: no version is loaded.
          NotFound: that version is not loaded.
        """
        with self._lock:
            if not self._serving:
                raise Unavailable("No version of the model is loaded.")
            wanted = max(self._serving) if version is None else version
            if wanted not in self._serving:
                raise NotFound(f"Version {version} is not loaded. Loaded: {sorted(self._serving)}.")
            served = self._serving[wanted]
            served.in_flight += 1
        try:
            yield served.model
        finally:
            with self._lock:
                served.in_flight -= 1
                if served.retired and not served.in_flight:
                    self._end(served)

    def _follow(self) -> None:
        while not self._stop.wait(self.poll_seconds):
            try:
                self.poll()
            except Exception:  # the thread must outlive anything: what is loaded goes on serving
                _log.exception("Looking for versions in %s failed", self.root)

    def _find(self) -> dict[int, str]:
        try:
            # Links are followed once, here: one that moves while a version loads must not mix two versions.
            with os.scandir(os.path.realpath(self.root)) as entries:
                found = {
                    int(e.name): os.path.realpath(e.path)
                    for e in entries
                    if _VERSION.fullmatch(e.name) and e.is_dir()
                }
            error = None
        except OSError as problem:
            found, error = {}, str(problem)
        if error is not None and error != self._root_error:
            _log.warning("Cannot read %s", error)
        self._root_error = error
        return found

    def _unchanged(self, version: int, directory: str) -> bool:
        """Is what serves what lies there? So it is too while the files are not all there, or gone."""
        identity = integrity.identity(directory)
        if identity not in (None, self._serving[version].identity):
            return False
        with self._lock:
            if identity is not None:  # a change that was refused may have been taken back
                self._statuses[version] = VersionStatus(version, State.AVAILABLE, self._serving[version].rows_error)
        return True

    def _try(self, version: int, directory: str) -> None:
        fingerprint = integrity.fingerprint(directory)
        if self._refused.get(version) == fingerprint:
            return
        identity = integrity.identity(directory)  # before the rest: a change meanwhile shows at the next poll
        reload = version in self._serving  # then it stays AVAILABLE all the while
        try:
            if not reload:
                self._report(version, State.START)
            manifest = integrity.check(directory)
            if not reload:
                self._report(version, State.LOADING)
            model = ready(directory, version, manifest, identity, self._call, self._fresh, self._warm, self._index)
            served = _Served(model, identity)
        except Exception as error:  # a damaged SavedModel can raise anything; the old version must go on
            if not isinstance(error, IndexingError):  # an index on another machine may come back: the next poll asks
                self._refused[version] = fingerprint
            reason = str(error) if isinstance(error, TwoTowerError) else f"{type(error).__name__}: {error}"
            self._report(version, State.AVAILABLE if reload else State.END, reason)
            _log.error("Version %d refused: %s", version, reason)
            return
        self._refused.pop(version, None)
        self._take_user_rows(served, version, os.path.dirname(directory))  # it never answers without them
        with self._lock:
            replaced = self._serving.get(version)
            self._serving[version] = served
            self._set(version, State.AVAILABLE)
            if served.rows_error:
                self._set(version, State.AVAILABLE, served.rows_error)
            if replaced is not None:
                self._let_go(replaced)
            while len(self._serving) > self.keep:
                self._retire(min(self._serving))
        _log.info("Version %d is available, from %s", version, directory)

    def _follow_user_rows(self, version: int, root: str) -> None:
        served = self._serving[version]
        before = served.rows_error
        self._take_user_rows(served, version, root)
        if served.rows_error and served.rows_error != before:
            self._report(version, State.AVAILABLE, served.rows_error)
        elif before and not served.rows_error:
            with self._lock:
                self._statuses[version] = VersionStatus(version, State.AVAILABLE)

    def _take_user_rows(self, served: _Served, version: int, root: str) -> None:
        """Gives a loaded version the rows of users that were published beside it since, if they changed."""
        stamp = user_deltas.stamp(root, version)
        if stamp == served.user_rows:
            return
        try:
            model = with_user_rows(
                served.model, user_deltas.read(root, version, served.model.manifest.get("embedding_space")),
                f"{served.identity}+{stamp}",
            )
        except Exception as error:  # the rows that it has go on serving
            served.rows_error = f"Rows of users refused: {error}"
            _log.error("Rows of users of version %d refused: %s", version, error)
        else:
            with self._lock:
                served.model, served.rows_error = model, ""
            _log.info("Version %d has %d updates of user rows", version, len(stamp))
        served.user_rows = stamp

    def _retire(self, version: int) -> None:
        served = self._serving.pop(version)
        self._set(version, State.UNLOADING)
        self._let_go(served)

    def _let_go(self, served: _Served) -> None:
        served.retired = True
        if not served.in_flight:
            self._end(served)

    def _end(self, served: _Served) -> None:
        if served.model.version not in self._serving:  # else other files of the same version replaced it
            self._set(served.model.version, State.END)
        self._garbage.append(served.model)
        served.model = None  # type: ignore[assignment]  # nobody asks it any more

    def _collect(self) -> None:
        with self._lock:
            garbage, self._garbage = self._garbage, []
        if garbage:
            while garbage and self._fresh is not None:
                self._fresh.detach(garbage.pop())
            garbage.clear()
            gc.collect()  # a loaded SavedModel holds cycles; its tables and vectors are to be freed now

    def _forget(self, found: Collection[int]) -> None:
        self._refused = {v: f for v, f in self._refused.items() if v in found}
        with self._lock:
            for version, status in list(self._statuses.items()):
                if status.state is State.END and version not in found:
                    del self._statuses[version]

    def _report(self, version: int, state: State, error: str = "") -> None:
        with self._lock:
            self._set(version, state, error)

    def _set(self, version: int, state: State, error: str = "") -> None:
        self._statuses[version] = VersionStatus(version, state, error)
        self._on_status(self._statuses[version])
