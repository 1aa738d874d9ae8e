"""One index that changes, over any index that does not."""

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_twotower.errors import IndexingError, invalid
from tfrs_twotower.index import arguments, checks
from tfrs_twotower.index.candidate_index import CandidateIndex, TopK
from tfrs_twotower.index.item_index import Found
from tfrs_twotower.index.mutable import changes, merging
from tfrs_twotower.index.mutable.journal import Journal
from tfrs_twotower.index.mutable.segment import Rows, Segment

_PART = 1 << 14  # items of one record of a snapshot


class Delta(NamedTuple):
    """What changed since the main index was built, as the signature `recommend_fresh` takes it."""

    ids: np.ndarray        # object (str) or int64 [n]: items that are new or have another vector
    vectors: np.ndarray    # float32 [n, dim]
    withdrawn: np.ndarray  # object or int64 [m]: items that the main index holds and that are gone


@dataclasses.dataclass(frozen=True)
class _View:
    """All that a search needs, as it was at `moment`. A writer replaces it and changes nothing in it."""

    moment: int
    search: Callable | None  # of the main index
    main: Rows
    overlay: Rows
    dead: int  # rows of main that are gone
    size: int  # items that are there


class MutableIndex:
    """An `ItemIndex` over any `CandidateIndex`; every change counts from the next search on.

    Three parts: a main index over most items, which does not change; an exact overlay of the vectors that came
    since; and a moment of death for every row, which is a tombstone for the searches after it. `rebuild` makes
    one new main index of what is there. A search over the whole equals one over a rebuilt index, up to what an
    approximate main index does not find.

    Threads may share one. A search holds no lock: it sees the items as they were at one moment, all of a
    change or nothing of it. Changes take turns. `rebuild` and `compact` keep both going meanwhile.

    With a folder, a change is on the disk before the call that made it returns, and a new object on the same
    folder holds every change that returned. One whose call did not return is there whole or not at all.

    Memory: the vectors once here and once in the main index, and about 200 bytes an item for ids and rows.
    """

    def __init__(
        self, build: Callable[[np.ndarray], CandidateIndex], dim: int, id_type: type = str,
        folder: str | Path | None = None, space: str = ""
    ) -> None:
        """Reads what the folder holds and builds the main index over it.

        Args:
          build: {float32 [n, dim], n ≥ 1} → `CandidateIndex`, as `Exact` or
            `lambda vectors: index.build(IndexConfig(kind="ivf"), vectors)[0]`.
          dim: of the vectors.
          id_type: str or int (64 bits).
          folder: where changes are kept (see `Journal`); None for an index that lives in memory alone.
          space: the id of the embedding space that the vectors are of (`embedding_space` of a manifest). A folder
            of another space is refused.

        Raises:
          IndexingError: an argument is wrong, or the folder cannot be used: see `Journal`.
        """
        if id_type not in (str, int):
            raise IndexingError(invalid("id_type", "be str or int", id_type, "Item ids are text or int64."))
        self.dim, self.id_type, self.space = checks.at_least_one("dim", dim), id_type, space
        self._build = build
        self._writing, self._rebuilding = threading.RLock(), threading.Lock()
        self._begin(None, Segment.empty(id_type, dim), {})
        self._moment = 0
        self._publish()
        self._journal = None
        if folder is not None:
            self._journal = Journal(folder, {"embedding_space": space, "dim": dim, "ids": id_type.__name__})
            try:
                self._replay()
            except BaseException:
                self.close()
                raise

    def __len__(self) -> int:
        """The items that a search can return."""
        return self._view.size

    def __contains__(self, item_id: object) -> bool:
        return arguments.keys([item_id], self.id_type)[0] in self._rows

    @property
    def moment(self) -> int:
        """A number that grows with each change: while it stays, so does `delta`."""
        return self._view.moment

    @property
    def overlay_rows(self) -> int:
        """Rows that a search scores one by one; those of items that changed again or went are among them."""
        return self._view.overlay.count

    @property
    def tombstones(self) -> int:
        """Rows of the main index that are gone or stand in the overlay."""
        return self._view.dead

    def upsert(self, ids: Sequence[Any] | np.ndarray, vectors: np.ndarray) -> None:
        """Adds items, or gives items that are there another vector.

        ids: n ids; where one stands twice, the last vector counts. vectors: [n, dim], finite.

        Raises:
          IndexingError: an id or a vector is not as it should be, or the folder cannot be written. Then
            nothing was changed.
        """
        named = arguments.keys(ids, self.id_type)
        vectors = arguments.vectors(vectors, len(named), self.dim)
        last = {key: row for row, key in enumerate(named)}
        if last:
            self._change(changes.Upsert(list(last), vectors[list(last.values())]))

    def delete(self, ids: Sequence[Any] | np.ndarray) -> int:
        """Removes items; an id that is not there is no error. Returns how many were there. Raises as `upsert`."""
        named = dict.fromkeys(arguments.keys(ids, self.id_type))
        with self._writing:
            there = [key for key in named if key in self._rows]
            if there:
                self._change(changes.Delete(there))
        return len(there)

    def search(self, queries: np.ndarray, k: int) -> Found:
        """The k items with the largest ⟨query, vector⟩: `Found`.

        queries: float32 [batch, dim], finite. k: integer ≥ 1; where fewer items are there, the rest is "" or −1
        with the score −inf.

        Raises:
          IndexingError: the queries or k are not as they should be.
        """
        queries, k = checks.query_matrix(queries, self.dim), checks.neighbours(k)
        view = self._view
        from_main = merging.main_best(view.search, view.main, view.moment, view.dead, queries, k)
        fresh = merging.overlay_best(view.overlay, view.moment, queries, k)
        behind = np.where(fresh[1] >= 0, fresh[1] + view.main.count, -1)
        scores, rows = merging.best(
            np.concatenate([from_main[0], fresh[0]], axis=1), np.concatenate([from_main[1], behind], axis=1), k
        )
        short = [(0, 0), (0, k - scores.shape[1])]
        scores = np.pad(scores, short, constant_values=-np.inf)
        return Found(scores, self._ids(view, np.pad(rows, short, constant_values=-1)))

    def items(self) -> tuple[np.ndarray, ...]:
        """(ids [n], vectors [n, dim]) of all items as they are now, as copies."""
        return self._items(self._view)

    def delta(self) -> Delta:
        """What changed since the last rebuild: a `Delta`."""
        with self._writing:  # both are of one moment
            view, withdrawn = self._view, list(self._withdrawn)
        alive = view.overlay.alive(view.moment)
        ids, vectors = view.overlay.ids[:view.overlay.count][alive], view.overlay.vectors[:view.overlay.count][alive]
        return Delta(ids, vectors, np.array(withdrawn, view.main.ids.dtype))

    def rebuild(self) -> None:
        """Builds a new main index of all items; the overlay and the tombstones begin anew.

        Searches and changes go on meanwhile; what changes is in the new overlay when it ends. An error of
        `build` leaves everything as it was.
        """
        with self._rebuilding:
            self._rebuild(self._view)

    def compact(self) -> None:
        """`rebuild`, and shortens the log to a snapshot of the items and what changes from here on.

        Killed at any point it loses no change that returned. Without a folder it is `rebuild`.
        """
        with self._rebuilding:
            with self._writing:
                view = self._view
                generation = self._journal.rotate() if self._journal else None
            ids, vectors = self._rebuild(view)
            if self._journal:
                self._journal.publish(generation, self._payloads(ids, vectors))  # type: ignore[arg-type]  # was begun

    def close(self) -> None:
        """Lets another process open the folder. Searches still work, changes do not."""
        if self._journal:
            self._journal.close()

    def _replay(self) -> None:
        for payload in self._journal.read():
            self._apply(changes.decode(payload, self.id_type, self.dim))
        self._publish()
        self.rebuild()

    def _change(self, change: changes.Upsert | changes.Delete) -> None:
        with self._writing:
            if self._journal:
                self._journal.append(changes.encode(change))
            self._apply(change)
            self._publish()

    def _apply(self, change: changes.Upsert | changes.Delete) -> None:
        """Marks the rows that go and appends those that come; no search sees them before `_publish`."""
        for key in change.keys:
            row = self._rows.pop(key, None)
            if row is not None:
                self._kill(row)
                if row < self._main.count or key in self._replaced:
                    self._withdrawn[key] = None
        if isinstance(change, changes.Upsert):
            first = self._overlay.append(change.keys, change.vectors) + self._main.count
            self._rows.update(zip(change.keys, range(first, first + len(change.keys))))
            self._replaced.update(key for key in change.keys if self._withdrawn.pop(key, self) is None)

    def _kill(self, row: int) -> None:
        if row < self._main.count:
            self._main.kill(row, self._moment + 1)
            self._dead += 1
        else:
            self._overlay.kill(row - self._main.count, self._moment + 1)

    def _publish(self) -> None:
        """All that was applied counts from here on."""
        self._moment += 1
        self._view = _View(
            self._moment, self._search, self._main.rows(), self._overlay.rows(), self._dead, len(self._rows)
        )

    def _begin(
        self, search: Callable[[np.ndarray, int], TopK] | None, main: Segment, rows: dict[str | int, int]
    ) -> None:
        """All items in `main`, none changed. rows: {id: row}; rows of the overlay come behind those of main."""
        self._search, self._main, self._overlay = search, main, Segment.empty(self.id_type, self.dim)
        self._rows, self._dead = rows, 0
        self._withdrawn, self._replaced = {}, set()  # keys of main: those that are gone, and those that came again

    def _rebuild(self, old: _View) -> tuple[np.ndarray, ...]:
        """Builds over the view `old` and applies what changed since. Returns the (ids, vectors) of `old`."""
        ids, vectors = self._items(old)
        search = merging.searcher(self._build(vectors)) if len(ids) else None
        rows = dict(zip(ids.tolist(), range(len(ids))))
        with self._writing:
            later = _since(old, self._view)
            self._begin(search, Segment(ids, vectors), rows)
            for change in later:
                self._apply(change)
            self._publish()
        return ids, vectors

    def _items(self, view: _View) -> tuple[np.ndarray, ...]:
        parts = [(rows.ids[:rows.count], rows.vectors[:rows.count], rows.alive(view.moment))
                 for rows in (view.main, view.overlay)]
        return tuple(np.concatenate([part[i][part[2]] for part in parts]) for i in (0, 1))

    def _ids(self, view: _View, rows: np.ndarray) -> np.ndarray:
        nothing = arguments.missing(self.id_type)
        found = np.full(rows.shape, nothing, object if self.id_type is str else np.int64)
        main, fresh = (rows >= 0) & (rows < view.main.count), rows >= view.main.count
        found[main] = view.main.ids[rows[main]]
        found[fresh] = view.overlay.ids[rows[fresh] - view.main.count]
        return found

    def _payloads(self, ids: np.ndarray, vectors: np.ndarray) -> Iterator[bytes]:
        for start in range(0, len(ids), _PART):
            part = slice(start, start + _PART)
            yield changes.encode(changes.Upsert(ids[part].tolist(), vectors[part]))


def _since(old: _View, now: _View) -> list[changes.Upsert | changes.Delete]:
    """The changes that lead from one view to a later one of the same main index: [Delete, Upsert]."""
    gone = []
    for before, after in ((old.main, now.main), (old.overlay, now.overlay)):
        ended = before.alive(old.moment) & ~after.alive(now.moment)[:before.count]
        gone += after.ids[:before.count][ended].tolist()
    come = np.flatnonzero(now.overlay.alive(now.moment))
    come = come[come >= old.overlay.count]
    return [changes.Delete(gone), changes.Upsert(now.overlay.ids[come].tolist(), now.overlay.vectors[come])]
