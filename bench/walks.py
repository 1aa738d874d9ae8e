"""The two walks through the package: which of its files run code on the way.

    python bench/walks.py            prints JSON: {walk: the files of the package that Python imports, in their order}

`a vector`: from a raw column to the vector of an export. `ingest` reads it, a field learns from it and encodes it, the
tower embeds it, the signature `embed_query` is saved, loaded and asked. `an answer`: from the body of a request to
`/v1/models/X:predict` to its answer, by a server with a store that has answered before.

A file counts if a function of it is called; a module that is only imported does not. `bench.shape` runs this file in a
process of its own, as it may measure another checkout.
"""

import contextlib
import json
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import tfrs_twotower  # isort: skip  # before TensorFlow

import numpy as np
import pandas as pd
import tensorflow as tf

PACKAGE = Path(tfrs_twotower.__file__).parent
USERS, ITEMS, EVENTS = 20, 30, 200


class Trace:
    """The files of the package whose functions were called, in the order of their first call.

    It sees the threads that start after it was made.
    """

    def __init__(self):
        self.files, self._on = {}, False
        threading.setprofile(self._event)
        sys.setprofile(self._event)

    @contextlib.contextmanager
    def on(self):
        """What is called in here counts."""
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def take(self):
        """The files so far, relative to the package; the next ones start anew."""
        found, self.files = [str(Path(name).relative_to(PACKAGE)) for name in self.files], {}
        return found

    def _event(self, frame, event, argument):
        name, code = frame.f_code.co_filename, frame.f_code
        if self._on and event == "call" and name.startswith(f"{PACKAGE}/") and code.co_name != "<module>":
            self.files.setdefault(name)


def vector(trace, root):
    """The files on the walk of a vector. In `root`/export there is then an export, of towers as they begin."""
    from tfrs_twotower.data import Frames, ingest
    from tfrs_twotower.exporting import Retriever, export
    from tfrs_twotower.exporting.signatures import signatures
    from tfrs_twotower.features import Category, Id, Schema, build_fields
    from tfrs_twotower.index import IndexConfig, build
    from tfrs_twotower.towers import MLP, Tower
    from tfrs_twotower.training import Examples, adapt

    rng = np.random.default_rng(0)
    users = pd.DataFrame({"user_id": range(USERS), "country": [f"c{i % 4}" for i in range(USERS)]})
    events = {"user_id": rng.integers(USERS, size=EVENTS), "item_id": rng.integers(ITEMS, size=EVENTS)}
    frames = Frames(pd.DataFrame({**events, "timestamp": range(1, EVENTS + 1)}), users)
    with trace.on():
        log, _ = ingest(frames)
    rows, schema = np.arange(len(log)), Schema(query=(Category("country"),), candidate=(Id("item_id"),))
    query, candidate = (Tower(fields, MLP(), 8, True) for fields in build_fields(schema))
    with trace.on():
        adapt(log, rows, query.fields, candidate.fields)
        examples = Examples(log, query.fields, candidate.fields)
        query(examples.queries(rows[:8]))
        vectors = candidate(examples.candidates(np.arange(log.items.num_rows))).numpy()
    index, report = build(IndexConfig(kind="exact"), vectors)
    ids = tf.constant(log.items["item_id"].to_pylist(), tf.int64)
    with trace.on():
        retriever = Retriever(query, candidate, vectors, ids, index, 1.0, np.zeros(len(vectors), np.float32))
        given = signatures(retriever)["embed_query"]
        tf.saved_model.save(retriever, str(root / "vectors"), {"embed_query": given})
        tf.saved_model.load(str(root / "vectors")).signatures["embed_query"](country=tf.constant(["c1"]))
    export(retriever, root / "export", {}, [examples.raw_queries(rows[-8:])], report)
    return trace.take()


def answer(trace, root):
    """The files on the walk of an answer, of a server of `root`/export."""
    from tfrs_twotower.online import open_stores
    from tfrs_twotower.serving import Server

    stores = open_stores(f"sqlite:{root}/store.db")
    server = Server(root / "export", rest_port=0, grpc_port=0, poll_seconds=600, stores=stores)
    with contextlib.closing(stores), server:
        body = b'{"instances": [{"user_id": "1"}]}'
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/{server.name}:predict"
        for traced in (contextlib.nullcontext(), trace.on()):
            with traced, urllib.request.urlopen(urllib.request.Request(url, body)) as found:
                found.read()
                time.sleep(0.3)  # what the server does once the answer is out belongs to it
    return trace.take()


def main():
    trace = Trace()
    with tempfile.TemporaryDirectory() as folder:
        found = {"a vector": vector(trace, Path(folder)), "an answer": answer(trace, Path(folder))}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
