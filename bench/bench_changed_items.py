"""What a server pays for items that changed since the export: how many are too many?

    python -m bench.bench_changed_items           # 100,000 x 64, one to two minutes on two cores

Half of the changed items are new, half edited. `ms_first_…` is what the first request after one more change does
besides: `predict` makes the overlay's inputs, `recommend` also the view that /v1/recommend and similar_items read.
`ms_search` is `recommend_fresh_by_vector` of one query, k = 100, by ScaNN, in Python; `ratio` divides by that without
changes. Medians.
"""

import argparse
import tempfile
import time

import numpy as np

from bench import common, online_export
from tfrs_twotower import columns as c
from tfrs_twotower.exporting import manifest
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.serving.current_items import current_items
from tfrs_twotower.serving.model import load

# This comes after tfrs_twotower, which sets up legacy Keras.
import tensorflow as tf  # isort: skip

CHANGED = (0, 1_000, 4_000, 8_000, 16_000, 32_000)
_PART, _SEARCHES = 1_000, 20


def measure(fresh, model, queries, changed, rounds):
    """One row of the table: medians over so many further changes."""
    search, seconds = model.signature("recommend_fresh_by_vector"), {"inputs": [], "view": [], "search": []}

    def timed(what, call):
        begin = time.perf_counter()
        call()
        seconds[what].append(time.perf_counter() - begin)

    for number in range(rounds):
        if changed:
            fresh.change([{c.ITEM_ID: changed[number]}])
        timed("inputs", lambda: fresh.inputs(model))
        timed("view", lambda: current_items(model, fresh))
        for at in range(_SEARCHES):
            inputs = {c.EMBEDDING: tf.constant(queries[at:at + 1]), c.K: tf.constant(online_export.K)}
            timed("search", lambda: search({**inputs, **fresh.inputs(model)})[c.IDS].numpy())
    inputs, view, found = (1e3 * common.median(seconds[what]) for what in ("inputs", "view", "search"))
    first = {"ms_first_predict": inputs, "ms_first_recommend": inputs + view}
    return {"changed": len(changed), **first, "ms_search": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as log:
        vectors, _, _ = online_export.write(root, args.rows, 1000, "scann", 0.95)
        model = load(f"{root}/1", 1, manifest.read(f"{root}/1"))
        fresh = FreshItems(log, int)
        fresh.attach(model)
        first = args.rows - CHANGED[-1] // 2
        ids = np.random.default_rng(0).permutation(np.arange(first, first + CHANGED[-1])).tolist()
        measure(fresh, model, vectors, [], args.rounds)  # traced, warm
        figures, done = [], 0
        for count in CHANGED:
            for at in range(done, count, _PART):
                fresh.change([{c.ITEM_ID: item} for item in ids[at:at + _PART]])
            done = count
            figures.append(measure(fresh, model, vectors, ids[:count], args.rounds))
        fresh.close()
    common.record("changed_items", [{**row, "ratio": row["ms_search"] / figures[0]["ms_search"]} for row in figures])


if __name__ == "__main__":
    main()
