"""What a server pays for items that changed since the export: how many are too many?

    python -m bench.bench_changed_items           # 100,000 x 64, one to two minutes on two cores

Half of the changed items are new, half edited. `ms_first_…` is what the first request after one more of them does
besides: `predict` makes the overlay's inputs, `recommend` also the view that /v1/recommend and similar_items read.
`ms_search` is `recommend_fresh_by_vector` of one query, k = 100, by ScaNN, in Python; `ratio` is to one after it that
is told of no changes. Medians.
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


def measure(fresh, model, queries, further, nothing):
    """The figures of a row: medians over further changes, each of one of these items; of None nothing changes.

    nothing: the inputs of a search where nothing has changed.
    """
    search = model.signature(c.RECOMMEND_FRESH_BY_VECTOR)
    seconds = {"inputs": [], "view": [], "search": [], "without": []}

    def timed(what, call):
        begin = time.perf_counter()
        call()
        seconds[what].append(time.perf_counter() - begin)

    for item in further:
        if item is not None:
            fresh.change([{c.ITEM_ID: item}])
        timed("inputs", lambda: fresh.inputs(model))
        timed("view", lambda: current_items(model, fresh))
        for at in range(_SEARCHES):
            inputs = {c.EMBEDDING: tf.constant(queries[at:at + 1]), c.K: tf.constant(online_export.K)}
            timed("search", lambda: search({**inputs, **fresh.inputs(model)})[c.IDS].numpy())
            timed("without", lambda: search({**inputs, **nothing})[c.IDS].numpy())
    inputs, view, found = (1e3 * common.median(seconds[what]) for what in ("inputs", "view", "search"))
    ratio = common.median([a / b for a, b in zip(seconds["search"], seconds["without"])])
    return {"ms_first_predict": inputs, "ms_first_recommend": inputs + view, "ms_search": found, "ratio": ratio}


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
        first, last = args.rows - CHANGED[-1] // 2, args.rows + CHANGED[-1] // 2 + args.rounds
        ids = np.random.default_rng(0).permutation(np.arange(first, last)).tolist()
        nothing, none = fresh.inputs(model), [None] * args.rounds
        measure(fresh, model, vectors, none, nothing)  # traced, warm
        figures, done = [], 0
        for count in CHANGED:
            for at in range(done, count, _PART):
                fresh.change([{c.ITEM_ID: item} for item in ids[at:at + _PART]])
            done = count
            further = ids[count:count + args.rounds] if count else none
            figures.append({"changed": count, **measure(fresh, model, vectors, further, nothing)})
        fresh.close()
    common.record("changed_items", figures)


if __name__ == "__main__":
    main()
