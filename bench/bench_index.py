"""Recall and latency of the indexes: ours, Faiss's, TFRS's layers, and raw ScaNN (TensorFlow op and pybind).

    python -m bench.bench_index                   # 200,000 x 64, about five minutes on two cores
    python -m bench.bench_index --rows 1000000    # also the graphs, of which each takes long to build

Vectors are a mixture of 1,000 anisotropic Gaussians, scaled to norm 1; queries are drawn from it too.
Ours run as loaded from a SavedModel with k as an input, the others as traced functions, pybind, Faiss and Milvus (a
local file, by milvus-lite) as they are. Faiss's OpenBLAS takes its slowest kernels on a processor that it does not
know; OPENBLAS_CORETYPE in the environment names better ones, and the settings then say so.
Times are medians of calls from Python that
take turns. `op_ratio` divides by ScaNN's TensorFlow op on the same index with the same settings.
"""

import argparse
import itertools
import os
import tempfile

import numpy as np

from bench import common
from tfrs_twotower.extras import require
from tfrs_twotower.index import Exact, IndexConfig, build

# TFRS needs legacy Keras, which tfrs_twotower sets up, so these come after it.
import tensorflow as tf  # isort: skip
import tensorflow_recommenders as tfrs  # isort: skip

K = 100
RAW_OP = "ScaNN's TensorFlow op"
OURS = {"scann": "ours, ScaNN", "ivf": "ours, IVF of stock ops", "faiss_ivf": "ours, Faiss IVF",
        "faiss_ivfpq": "ours, Faiss IVF-PQ", "faiss_hnsw": "ours, Faiss HNSW", "milvus": "ours, Milvus (HNSW)"}
PYTHON = {"ScaNN pybind", *(name for kind, name in OURS.items() if kind not in ("scann", "ivf"))}  # NumPy in and out
SETTINGS = ("leaves", "leaves_to_search", "probes", "reorder", "width")


def mixture(rows, dim, queries, seed=0):
    """Unit vectors [rows, dim] and [queries, dim] of 1,000 Gaussians with their own widths."""
    generator = np.random.default_rng(seed)
    means, widths = generator.normal(size=(1000, dim)), generator.gamma(1.0, 0.6, size=(1000, dim))
    part = generator.integers(0, 1000, rows + queries)
    points = (means[part] + generator.normal(size=(rows + queries, dim)) * widths[part]).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points[:rows], points[rows:]


def saved(index):
    """`index.search` as loaded from a SavedModel: (queries, k) -> (rows, scores)."""
    module = tf.Module()
    module.index = index
    module.search = tf.function(
        lambda queries, k: index.search(queries, k)[::-1],
        input_signature=[tf.TensorSpec([None, index.dim]), tf.TensorSpec([], tf.int32)],
    )
    with tempfile.TemporaryDirectory() as folder:
        options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
        tf.saved_model.save(module, folder, options=options)
        loaded = tf.saved_model.load(folder)
    return lambda queries, k: loaded.search(queries, k)  # holds on to the variables, as `.search` does not


def settings_of(kind, settings):
    """The settings of an index of ours as text."""
    text = ", ".join(f"{key} {settings[key]}" for key in SETTINGS if key in settings)
    core = os.environ.get("OPENBLAS_CORETYPE") if kind.startswith("faiss") else None
    return f"{text}, {core}" if core else text


def called(index):
    """`index.search` of an index that no SavedModel holds: (queries, k) -> (rows, scores)."""
    return lambda queries, k: index.search(np.asarray(queries), int(k))[::-1]


def raw_op(index):
    """ScaNN's op on the state of one of our indexes."""
    ops = require("scann").scann_ops

    @tf.function(input_signature=[tf.TensorSpec([None, index.dim]), tf.TensorSpec([], tf.int32)])
    def search(queries, k):
        searcher = ops.searcher_from_module(index.state)
        return searcher.search_batched_parallel(queries, k, index.reorder, index.leaves_to_search)

    return search


def pybind(vectors, settings):
    """ScaNN without TensorFlow, trained and searched with the settings of one of our indexes."""
    builder = require("scann").scann_ops_pybind.builder(vectors, K, "dot_product")
    searcher = builder.tree(
        num_leaves=settings["leaves"], num_leaves_to_search=settings["leaves_to_search"],
        training_sample_size=min(len(vectors), max(100_000, 128 * settings["leaves"])),
        min_partition_size=1, spherical=settings["spherical"],
    ).score_ah(2, settings["anisotropic_threshold"]).reorder(settings["reorder"]).build()

    def search(queries, k):
        if len(queries) == 1:
            rows, scores = searcher.search(queries[0], final_num_neighbors=int(k))
            return rows[np.newaxis], scores
        return searcher.search_batched(queries, final_num_neighbors=int(k))

    return search


def tfrs_layer(layer, vectors):
    layer.index(tf.constant(vectors))
    return tf.function(
        lambda queries, k: layer(queries, k=k)[::-1],
        input_signature=[tf.TensorSpec([None, vectors.shape[1]]), tf.TensorSpec([], tf.int32)],
    )


def searches(vectors, queries, target, kinds, folder):
    """Two groups that are timed apart, as a scan of all vectors empties the cache for its successor."""
    layers = tfrs.layers.factorized_top_k
    exact = {
        "ours, exact": (saved(Exact(vectors)), "one product, block-max top-k"),
        "TFRS BruteForce": (tfrs_layer(layers.BruteForce(k=K), vectors), "defaults"),
    }
    approximate = {}
    for kind, name in ((kind, OURS[kind]) for kind in kinds):
        where = f"milvus:{folder}/items.db" if kind == "milvus" else kind
        index, report = build(IndexConfig(kind=where, k=K, target_recall=target), vectors, queries)
        text = settings_of(kind, report.settings)
        search = called(index) if name in PYTHON else saved(index)
        approximate[name] = (search, f"{text}; built in {report.build_seconds:.0f} s")
        print(name, approximate[name][1], flush=True)
        if kind == "scann":
            approximate[RAW_OP] = (raw_op(index), text)
            approximate["ScaNN pybind"] = (pybind(vectors, report.settings), text)
    approximate["TFRS ScaNN"] = (tfrs_layer(layers.ScaNN(k=K), vectors), "defaults")
    tuned = layers.ScaNN(k=K, num_leaves=2000, num_leaves_to_search=40, num_reordering_candidates=200)
    text = "leaves 2000, leaves_to_search 40, reorder 200"
    approximate["TFRS ScaNN, reordering"] = (tfrs_layer(tuned, vectors), text)
    return exact, approximate


def recalls(search, queries, truth):
    """Recall@10 and recall@100 against exact rows [q, 100]."""
    rows = np.asarray(search(queries, tf.constant(K))[0])
    return tuple(
        np.mean([np.isin(truth[i, :k], rows[i, :k]).mean() for i in range(len(queries))]) for k in (10, K)
    )


def times(group, queries, batch, rounds):
    """Median and 99th percentile of milliseconds a call, for each search of a group."""
    batches = [queries[i:i + batch] for i in range(0, len(queries) - batch + 1, batch)]
    k = tf.constant(K)

    def caller(name, search):
        python = name in PYTHON
        turn = itertools.cycle(batches if python else [tf.constant(b) for b in batches])
        return lambda: search(next(turn), K if python else k)

    calls = {name: caller(name, search) for name, (search, _) in group.items()}
    seconds = common.interleaved(calls, rounds, warmup=10)
    return {name: np.quantile(s, [0.5, 0.99]) * 1e3 for name, s in seconds.items()}


def main(rows, dim, target, kinds, folder):
    vectors, queries = mixture(rows, dim, 2000)
    tuning, held_out = queries[:1000], queries[1000:]
    groups = searches(vectors, tuning, target, kinds, folder)
    truth = np.asarray(groups[0]["ours, exact"][0](held_out, tf.constant(K))[0])
    figures = []
    for group, (single, batched) in zip(groups, ((100, 20), (600, 60))):
        ones, many = times(group, held_out, 1, single), times(group, held_out, 32, batched)
        for name, (search, settings) in group.items():
            at_10, at_100 = recalls(search, held_out, truth)
            figures.append({
                "index": name, "recall@10": float(at_10), "recall@100": float(at_100),
                "ms_p50": float(ones[name][0]), "ms_p99": float(ones[name][1]),
                "ms_per_query_in_32": float(many[name][0] / 32), "settings": settings,
            })
    op = next(figure["ms_p50"] for figure in figures if figure["index"] == RAW_OP)
    for figure in figures:
        figure["op_ratio"] = figure["ms_p50"] / op
        figure["vectors"] = f"{rows} x {dim}"
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="candidates (default: %(default)s)")
    parser.add_argument("--dim", type=int, default=64, help="of a vector (default: %(default)s)")
    parser.add_argument("--target", type=float, default=0.95, help="recall@100 (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=OURS, default=tuple(OURS), help="ours (default: %(default)s)")
    parser.add_argument("--note", default="", help="what else to say, for the record")
    arguments = parser.parse_args()
    if "scann" not in arguments.kinds:
        parser.error("--kinds needs scann, whose op is the measure of op_ratio.")
    with tempfile.TemporaryDirectory() as temporary:
        found = main(arguments.rows, arguments.dim, arguments.target, arguments.kinds, temporary)
    common.record("index", [{**row, "note": arguments.note} for row in found])
