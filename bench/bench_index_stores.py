"""What smaller stores of vectors cost in recall: bfloat16, int8, and PCA, by Faiss's exact scan of each.

    python -m bench.bench_index_stores                   # 100,000 x 64

`mixture` is that of `bench_index`. `decaying` is one Gaussian; each dimension of a rotated space is .97 times as wide
as the one before. `recall@100_of_400` is the recall if 400 are found and rescored by true scores.
"""

import argparse

import numpy as np

from bench import common
from bench.bench_index import K, mixture
from tfrs_twotower.extras import require

STORES = {"float32": "Flat", "bfloat16": "SQbf16", "int8": "SQ8", "PCA 48": "PCA48,Flat", "PCA 32": "PCA32,Flat",
          "PCA 32, int8": "PCA32,SQ8"}


def decaying(rows, dim, queries, seed=1):
    """Vectors [rows, dim] and [queries, dim]; see the module."""
    generator = np.random.default_rng(seed)
    turned = np.linalg.qr(generator.normal(size=(dim, dim)))[0]
    points = (generator.normal(size=(rows + queries, dim)) * 0.97 ** np.arange(dim) @ turned).astype(np.float32)
    return points[:rows], points[rows:]


def main(rows, dim):
    faiss, figures = require("faiss"), []
    for name, (vectors, queries) in {"mixture": mixture(rows, dim, 500), "decaying": decaying(rows, dim, 500)}.items():
        stores = {}
        for store, description in STORES.items():
            stores[store] = faiss.index_factory(dim, description, faiss.METRIC_INNER_PRODUCT)
            stores[store].train(vectors)
            stores[store].add(vectors)
        truth = stores["float32"].search(queries, K)[1]
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        calls = {store: lambda index=index: index.search(queries[:1], K) for store, index in stores.items()}
        seconds = common.interleaved(calls, 100, warmup=5)
        faiss.omp_set_num_threads(threads)
        for store, index in stores.items():
            many = index.search(queries, 4 * K)[1]
            few, of_many = ([np.isin(t, found).mean() for t, found in zip(truth, part)]
                            for part in (many[:, :K], many))
            figures.append({
                "data": name, "store": store, "recall@100": float(np.mean(few)),
                "recall@100_of_400": float(np.mean(of_many)), "ms_one_core": common.median(seconds[store]) * 1e3,
                "mb": len(faiss.serialize_index(index)) / 1e6, "vectors": f"{rows} x {dim}",
            })
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="candidates (default: %(default)s)")
    parser.add_argument("--dim", type=int, default=64, help="of a vector (default: %(default)s)")
    arguments = parser.parse_args()
    common.record("index_stores", main(arguments.rows, arguments.dim))
