"""Items by id, searched exactly in NumPy: what an index that changes has to agree with."""

import numpy as np

from tfrs_twotower.index import Found


class ItemsInMemory:
    """Upserts, deletes and searches. ids: of the first items, with their vectors [n, dim]."""

    def __init__(self, ids, vectors):
        self._first = dict(zip(ids, np.asarray(vectors, np.float32)))
        self._now, self._changed = dict(self._first), set()

    def __len__(self):
        return len(self._now)

    def upsert(self, ids, vectors):
        self._now.update(zip(ids, np.asarray(vectors, np.float32)))
        self._changed.update(ids)

    def delete(self, ids):
        return sum(self._now.pop(item, None) is not None for item in dict.fromkeys(ids))

    def search(self, queries, k):
        """`Found` of k: the rest is the missing id and −inf."""
        names = list(self._now)
        missing = "" if all(isinstance(name, str) for name in names) else -1
        scores = np.full([len(queries), k], -np.inf, np.float32)
        ids = np.full(scores.shape, missing, object if missing == "" else np.int64)
        if names:
            every = queries @ np.stack(list(self._now.values())).T
            best = np.argsort(-every, axis=1, kind="stable")[:, :k]
            scores[:, :best.shape[1]] = np.take_along_axis(every, best, axis=1)
            ids[:, :best.shape[1]] = np.array(names, ids.dtype)[best]
        return Found(scores, ids)

    def changed(self):
        """(ids, vectors [m, dim]) of what is new or has another vector, and the first ones that are gone."""
        there = [item for item in self._now if item in self._changed]
        return there, np.stack([self._now[item] for item in there]), [i for i in self._first if i not in self._now]
