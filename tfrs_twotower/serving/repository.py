"""The versions of one model. Finds them on disk, checks and loads them, swaps them in, and unloads old ones."""

import contextlib
import dataclasses
import functools
import gc
import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator

from tfrs_twotower.errors import IndexingError, TwoTowerError, invalid
from tfrs_twotower.exporting import Key, integrity, user_deltas
from tfrs_twotower.index import IndexKind
from tfrs_twotower.serving.current_items import ItemChanges
from tfrs_twotower.serving.errors import NotFound, Unavailable
from tfrs_twotower.serving.loading import load, ready, with_user_rows
from tfrs_twotower.serving.model import LoadedModel, Runner, call
from tfrs_twotower.serving.published_rows import PublishedRows
from tfrs_twotower.serving.shard import Shard
from tfrs_twotower.serving.version_status import State, VersionStatus

_log = logging.getLogger(__name__)
_VERSION = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclasses.dataclass
class _Served:
    model: LoadedModel
    identity: str | None  # the identity of its files
    user_rows: tuple = ()  # the stamp of the deltas that were read last
    rows_error: str = ""  # why these deltas were refused
    in_flight: int = 0
    retired: bool = False


class Repository:
    """Serves the newest `keep` whole versions under `root`, and follows the folder.

    A version is a folder whose name is an integer. It is loaded when its manifest and checksums are right. A wrong
    version is refused, with the reason in the log and in `statuses`, and is checked again when its files change. The
    manifest of a version can change, for example if the root is a link that moves to another run. The version is then
    loaded beside the old one and swapped in, like a new version. A lower number never replaces a higher one: to go back
    to an earlier version, publish it under a higher number, as `updates.roll_back` does. If the folder of a version
    vanishes, the version serves until a newer one replaces it.

    Args:
      root: the folder of the version folders. It may be empty or missing at first.
      keep: the number of versions to serve. One more is in memory while a new one loads.
      poll_seconds: the time between two looks at the folder.
      on_status: a function that is called with each new `VersionStatus`, under a lock. It must be quick and must not
        call the repository.
      call: a function that runs a warm-up request as the server runs requests: (model, signature, tensors) → outputs.
      warm: a function that is called with each `LoadedModel` after its warm-up requests, before it answers.
      fresh: `ItemChanges`, or None. Each version is attached to it before it answers, and detached when it is unloaded.
      index: the `IndexKind` of an index outside the SavedModel, for each version; None: each export's own index.
      key: the `exporting.Key` that has to have signed each version and each update of user rows; others are refused.
        None: no signature is needed.
      model: with a key: the name of the model whose versions these are; others are refused. None: that of the first
        version that is loaded.
      shard: the `Shard` to load of each version, in place of its SavedModel, and the only one whose files are checked;
        None: the whole version.
      only: the one version to serve; None: the newest.
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
        key: Key | None = None,
        shard: Shard | None = None,
        model: str | None = None,
        only: int | None = None,
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
        self._key, self._model, self._only, self._rows = key, model, only, PublishedRows(key)
        self._load = shard.load if shard else functools.partial(load, index=index)
        self._needed = shard.needs if shard else lambda file: True
        self._lock = threading.Lock()  # guards what follows
        self._serving = {}
        self._statuses = {}
        self._garbage = []  # models that no longer answer
        self._refused = {}  # version: fingerprint; only `poll` uses it
        self._root_error: str | None = None
        self._polling = threading.Lock()  # one poll at a time
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Loads the versions in the folder, then follows the folder in a thread until `close`."""
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
        """Looks at the folder once. Loads new and whole versions, newest first, and unloads those that they replace."""
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
        """The versions that can answer, oldest first."""
        with self._lock:
            return sorted(self._serving)

    @contextlib.contextmanager
    def lease(self, version: int | None = None) -> Iterator[LoadedModel]:
        """Holds a version (the newest by default) for one request. It is not unloaded meanwhile.

        Yields:
          The version's `LoadedModel`.

        Raises:
          Unavailable: no version is loaded.
          NotFound: the version is not loaded.
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
            except Exception:  # the thread must survive any error; loaded versions go on serving
                _log.exception("Looking for versions in %s failed", self.root)

    def _find(self) -> dict[int, str]:
        try:
            # Links are resolved once, here: a link that moves while a version loads must not mix two versions.
            with os.scandir(os.path.realpath(self.root)) as entries:
                found = {
                    int(e.name): os.path.realpath(e.path)
                    for e in entries
                    if _VERSION.fullmatch(e.name) and e.is_dir() and self._only in (None, int(e.name))
                }
            error = None
        except OSError as problem:
            found, error = {}, str(problem)
        if error is not None and error != self._root_error:
            _log.warning("Cannot read %s", error)
        self._root_error = error
        return found

    def _unchanged(self, version: int, directory: str) -> bool:
        """Is the loaded version the one on disk? Also True while there is no manifest on disk."""
        identity = integrity.identity(directory)
        if identity not in (None, self._serving[version].identity):
            return False
        with self._lock:
            if identity is not None:  # a refused change may have been undone
                self._statuses[version] = VersionStatus(version, State.AVAILABLE, self._serving[version].rows_error)
        return True

    def _try(self, version: int, directory: str) -> None:
        fingerprint = integrity.fingerprint(directory)
        if self._refused.get(version) == fingerprint:
            return
        identity = integrity.identity(directory)  # read first: the next poll notices a change during the load
        reload = version in self._serving  # such a version stays AVAILABLE during the load
        try:
            if not reload:
                self._report(version, State.START)
            with integrity.checked(directory, version, self._key, self._needed, self._model) as (files, manifest):
                if self._key is not None:
                    identity = integrity.identity(files)  # of the copy, which was verified
                if not reload:
                    self._report(version, State.LOADING)
                model = ready(files, version, manifest, identity, self._call, self._fresh, self._warm, self._load)
            served = _Served(model, identity)
        except Exception as error:  # a damaged SavedModel can raise anything; the old version must go on serving
            if not isinstance(error, IndexingError):  # an index on another machine may return: the next poll tries
                self._refused[version] = fingerprint
            reason = str(error) if isinstance(error, TwoTowerError) else f"{type(error).__name__}: {error}"
            self._report(version, State.AVAILABLE if reload else State.END, reason)
            _log.error("Version %d refused: %s", version, reason)
            return
        self._refused.pop(version, None)
        if self._key is not None:
            self._model = self._model or manifest.get("model")
        self._take_user_rows(served, version, os.path.dirname(directory))  # before its first answer
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
        """Gives a loaded version the rows of its user table that were published since its export, if they changed."""
        stamp = user_deltas.stamp(root, version)
        if stamp == served.user_rows:
            return
        try:
            rows = self._rows.read(root, version, served.model, served.identity)
            model = with_user_rows(served.model, rows, f"{served.identity}+{stamp}")
        except Exception as error:  # the earlier rows go on serving
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
        if served.model.version not in self._serving:  # otherwise new files of the same version replaced it
            self._set(served.model.version, State.END)
        self._garbage.append(served.model)
        served.model = None  # type: ignore[assignment]  # no request uses it any more

    def _collect(self) -> None:
        with self._lock:
            garbage, self._garbage = self._garbage, []
        if garbage:
            while garbage and self._fresh is not None:
                self._fresh.detach(garbage.pop())
            garbage.clear()
            gc.collect()  # a loaded SavedModel has reference cycles; this frees its tables and vectors now

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
