"""Upserts a second, and what overlay rows and tombstones cost a search; ScaNN's own upsert and delete beside them.

    python -m bench.bench_mutable_index           # 100,000 x 64, about two minutes on two cores

The main index is ScaNN with its defaults; pybind is ScaNN's own changing index with the same settings. A search is
one query, k = 100, from Python; times are medians of searches that take turns. `ratio` divides by the search
without changes.
"""

import argparse
import tempfile
import time

import numpy as np

from bench import common
from bench.bench_index import mixture
from tfrs_twotower.extras import require
from tfrs_twotower.index import MutableIndex, ScaNN

K, DIM = 100, 64
OVERLAYS = (0, 1_000, 10_000, 100_000)


def pybind(vectors, index):
    """ScaNN's own index that changes, with the settings of one of ours."""
    builder = require("scann").scann_ops_pybind.builder(vectors, K, "dot_product")
    settings = index.settings()
    return builder.tree(
        settings["leaves"], settings["leaves_to_search"], min_partition_size=1, spherical=settings["spherical"],
        training_sample_size=min(len(vectors), max(100_000, 128 * settings["leaves"])),
    ).score_ah(2, settings["anisotropic_threshold"]).reorder(settings["reorder"]).build(
        docids=[str(n) for n in range(len(vectors))]
    )


def per_second(change, count):
    """How many of `count` changes one call of `change` makes in a second."""
    start = time.perf_counter()
    change()
    return count / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    vectors, fresh = mixture(args.rows, DIM, OVERLAYS[-1])
    main_index = ScaNN(vectors)
    ids, new = [str(n) for n in range(args.rows)], [f"new {n}" for n in range(len(fresh))]
    queries = vectors[:args.rounds + 1]

    def over(rows, gone):
        index = MutableIndex(lambda _: main_index, DIM)
        index.upsert(ids, vectors)
        index.rebuild()
        index.upsert(new[:rows], fresh[:rows])
        index.delete(ids[-gone:] if gone else [])
        return index

    native = pybind(vectors, main_index)
    changed = {f"overlay of {rows:,}": over(rows, 0) for rows in OVERLAYS}
    changed["tombstones: a tenth"] = over(0, args.rows // 10)
    searches = {name: _turning(lambda q, i=index: i.search(q, K), queries) for name, index in changed.items()}
    searches["ScaNN pybind"] = _turning(lambda q: native.search(q[0], K), queries)
    figures = _searches(common.interleaved(searches, args.rounds), "overlay of 0")
    some = len(new) // 50
    small = over(0, 0)
    with tempfile.TemporaryDirectory() as folder:
        durable = MutableIndex(lambda _: main_index, DIM, folder=folder)
        for what, index in (("in memory", small), ("with a log", durable)):
            singly = per_second(lambda: [index.upsert([i], v[None]) for i, v in zip(new[:some], fresh)], some)
            batch = per_second(lambda: index.upsert(new, fresh), len(new))
            deleted = per_second(lambda: index.delete(new), len(new))
            figures.append(_changes(f"overlay {what}", singly, batch, deleted))
        durable.close()
    singly = per_second(lambda: [native.upsert([i], v[None]) for i, v in zip(new[:some], fresh)], some)
    batch = per_second(lambda: native.upsert(new[some:], fresh[some:], batch_size=2000), len(new) - some)
    figures.append(_changes("ScaNN pybind", singly, batch, per_second(lambda: native.delete(new), len(new))))
    name = f"ScaNN pybind with {len(new):,} more"
    native.upsert(new, fresh, batch_size=2000)
    again = {"overlay of 0": searches["overlay of 0"], name: searches["ScaNN pybind"]}
    figures += _searches(common.interleaved(again, args.rounds), "overlay of 0")[1:]
    common.record("mutable_index", figures)


def _turning(search, queries):
    """A call that searches the next query each time."""
    at = [0]

    def call():
        at[0] = (at[0] + 1) % len(queries)
        search(queries[at[0]][None])

    return call


def _searches(seconds, reference):
    base = common.median(seconds[reference])
    return [
        {"what": f"search, {name}", "ms_p50": 1e3 * common.median(times), "ratio": common.median(times) / base}
        for name, times in seconds.items()
    ]


def _changes(what, singly, batch, deleted):
    return {"what": f"changes, {what}", "upserts_per_s": singly, "batch_per_s": batch, "deletes_per_s": deleted}


if __name__ == "__main__":
    np.random.seed(0)
    main()
