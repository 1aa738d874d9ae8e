"""What a server pays for items that changed since the export: how many are too many?

    python -m bench.bench_changed_items           # 100,000 x 64, one to two minutes on two cores

Half of the changed items are new, half edited. `ms_first_…` is what the first request after one more of them does
besides: `predict` makes the overlay's inputs, `recommend` also the view that /v1/recommend and similar_items read.
`ms_search` is `recommend_fresh_by_vector` of one query, k = 100, by ScaNN, in Python; `ratio` is to one after it that
is told of no changes. Medians.

The second table is of what keeps the events: SQLite (`ItemEvents`), and the log of checksummed records that version
0.2.0 wrote by hand, of which the way to write one stands below. Requests take turns. `open` is of so many items, each
changed once after the requests that were timed.
"""

import argparse
import json
import os
import struct
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

from bench import common, online_export
from tfrs_twotower import columns as c
from tfrs_twotower.exporting import manifest
from tfrs_twotower.freshness import FreshItems, old_log
from tfrs_twotower.freshness.item_events import ItemEvents
from tfrs_twotower.serving.loading import load

# This comes after tfrs_twotower, which sets up legacy Keras.
import tensorflow as tf  # isort: skip

CHANGED = (0, 1_000, 4_000, 8_000, 16_000, 32_000)
_PART, _SEARCHES = 1_000, 20


def read(items):
    """What /v1/recommend and similar_items read of the items of each moment."""
    return items.place, items.exported


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
        timed("inputs", lambda: fresh.items(model).inputs)
        timed("view", lambda: read(fresh.items(model)))
        for at in range(_SEARCHES):
            inputs = {c.EMBEDDING: tf.constant(queries[at:at + 1]), c.K: tf.constant(online_export.K)}
            timed("search", lambda: search({**inputs, **fresh.items(model).inputs})[c.IDS].numpy())
            timed("without", lambda: search({**inputs, **nothing})[c.IDS].numpy())
    inputs, view, found = (1e3 * common.median(seconds[what]) for what in ("inputs", "view", "search"))
    ratio = common.median([a / b for a, b in zip(seconds["search"], seconds["without"])])
    return {"ms_first_predict": inputs, "ms_first_recommend": inputs + view, "ms_search": found, "ratio": ratio}


class Log:
    """What 0.2.0 wrote of an event: one record, flushed."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self._file = open(self.folder / "log-0", "ab", buffering=0)
        if not self._file.tell():
            self._append({"format": 1, "holds": "item events", "ids": "int"})

    def write(self, latest):
        self._append({"changed": list(latest.values())})

    def read(self):
        return old_log.read(self.folder, int)

    def close(self):
        self._file.close()

    def _append(self, event):
        payload = json.dumps(event, allow_nan=False).encode()
        length = struct.pack("<I", len(payload))
        crc = zlib.crc32(payload, zlib.crc32(length))
        self._file.write(b"TTRC" + length + struct.pack("<I", crc) + payload)
        os.fsync(self._file.fileno())


KINDS = {"SQLite": lambda folder: ItemEvents(folder, int), "log of records": Log}


def events(kinds, size):
    """{kind: its figures} of requests with one item and with 100, and of opening `size` items. kinds: as `KINDS`."""
    generator, figures = np.random.default_rng(0), {name: {"events": name} for name in kinds}
    with tempfile.TemporaryDirectory() as root:
        folders = {name: os.path.join(root, str(at)) for at, name in enumerate(kinds)}
        for folder in folders.values():
            os.mkdir(folder)
        opened = {name: kinds[name](folder) for name, folder in folders.items()}
        for items, requests in ((1, 1000), (100, 300)):
            seconds = {name: [] for name in kinds}
            for _ in range(requests):
                latest = {n: features(n) for n in generator.choice(size, items, replace=False).tolist()}
                for name, kept in opened.items():
                    begin = time.perf_counter()
                    kept.write(latest)
                    seconds[name].append(time.perf_counter() - begin)
            for name, times in seconds.items():
                for share in (50, 99):
                    figures[name][f"ms_p{share}, {items} an event"] = 1e3 * np.percentile(times, share)
        for at in range(0, size, _PART):
            for kept in opened.values():
                kept.write({n: features(n) for n in range(at, at + _PART)})
        for kept in opened.values():
            kept.close()
        times = common.interleaved({name: lambda n=name: reopened(kinds[n], folders[n]) for name in kinds}, 5)
        for name, folder in folders.items():
            figures[name]["ms_open"] = 1e3 * common.median(times[name])
            figures[name]["mb_on_disk"] = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
    return list(figures.values())


def features(number):
    """Of an item, as a shop's."""
    return {c.ITEM_ID: number, "department": f"department {number % 40}", "brand": f"brand {number % 997}",
            "price": number / 100, "tags": [f"tag {number % 7}", f"tag {number % 11}"]}


def reopened(kind, folder):
    kept = kind(folder)
    kept.read()
    kept.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--events-only", action="store_true", help="the second table alone")
    args = parser.parse_args()
    if not args.events_only:
        common.record("changed_items", searches(args))
    common.record("item_events", events(KINDS, args.rows))


def searches(args):
    """The rows of the first table."""
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as log:
        vectors, _, _ = online_export.write(root, args.rows, 1000, "scann", 0.95)
        model = load(f"{root}/1", 1, manifest.read(f"{root}/1"))
        fresh = FreshItems(log, int)
        fresh.attach(model)
        first, last = args.rows - CHANGED[-1] // 2, args.rows + CHANGED[-1] // 2 + args.rounds
        ids = np.random.default_rng(0).permutation(np.arange(first, last)).tolist()
        nothing, none = fresh.items(model).inputs, [None] * args.rounds
        measure(fresh, model, vectors, none, nothing)  # traced, warm
        figures, done = [], 0
        for count in CHANGED:
            for at in range(done, count, _PART):
                fresh.change([{c.ITEM_ID: item} for item in ids[at:at + _PART]])
            done = count
            further = ids[count:count + args.rounds] if count else none
            figures.append({"changed": count, **measure(fresh, model, vectors, further, nothing)})
        fresh.close()
    return figures


if __name__ == "__main__":
    main()
