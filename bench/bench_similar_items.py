"""Which measure of how alike two items are: by what people took together, and by how few items are near to all.

    python -m bench.bench_similar_items                 # MovieLens-100K, two seeds, some minutes on two cores

A session is what one person rated in the held-out fifth of the log without an hour's pause. Of the other films of the
session, how many are among the ten most like one of them (of at most ten)? `recall@10` is the mean over sessions,
`gain` its paired difference to the cosine with the 95% bootstrap interval. Hubs: `most_lists` is in how many of the
lists of ten of all films the film stands that is in most of them, `skewness` that of the number of lists (0 where they
are even). Item-kNN, the cosine of who took both in training, knows pairs and not vectors: it is the yardstick.
"""

import argparse
import dataclasses

import numpy as np
import scipy.sparse

from bench import common
from bench.bench_quality import trained
from tfrs_twotower import recipes
from tfrs_twotower.data import ingest
from tfrs_twotower.exporting import Similarity
from tfrs_twotower.exporting.similarity import unit

_K, _PAUSE, _REPLICATES = 10, 3600, 1000


def sessions(a):
    """list of int arrays: catalogue positions that one person took without a pause, in the held-out part."""
    log, held = a.log, np.ones(len(a.log), bool)
    held[a.split.train] = False
    positions = a.positions(log.item)
    rows = np.flatnonzero(held & (positions >= 0))
    rows = rows[np.lexsort([log.timestamp[rows], log.user[rows]])]
    begins = (np.diff(log.user[rows]) != 0) | (np.diff(log.timestamp[rows]) > _PAUSE)
    found = [np.unique(part) for part in np.split(positions[rows], np.flatnonzero(begins) + 1)]
    return [part for part in found if len(part) > 1]


def measures(a):
    """{name: float [n, n]}: how alike each item is to each."""
    vectors = a.candidate_vectors()
    cosine = unit(vectors) @ unit(vectors).T
    mean = vectors.mean(axis=0)
    x = vectors - mean
    log_p = np.log(a.train_counts + 1.0)
    direction = unit(np.linalg.lstsq(x, log_p - log_p.mean(), rcond=None)[0][np.newaxis])[0]
    top = np.linalg.svd(x, full_matrices=False)[2][0]
    density = Similarity(vectors).density.numpy()
    train = a.split.train
    taken = scipy.sparse.csr_matrix(
        (np.ones(len(train)), (a.log.user[train], a.positions(a.log.item[train]))), (a.log.users.num_rows, len(vectors))
    )
    taken.data[:] = 1.0
    both = (taken.T @ taken).toarray()
    each = np.sqrt(np.maximum(np.diag(both), 1.0))

    def centred(without):
        rest = unit(x - np.outer(x @ without, without))
        return rest @ rest.T

    return {
        "cosine": cosine, "centred": unit(x) @ unit(x).T, "popularity's direction out": centred(direction),
        "all but the top": centred(top), "less density (served)": 2 * cosine - density - density[:, np.newaxis],
        "item-kNN": both / np.outer(each, each),
    }


def evaluated(similar, some):
    """(recall of each session, lists that each item stands in)."""
    similar = similar.copy()
    np.fill_diagonal(similar, -np.inf)
    top = np.argsort(-similar, axis=1, kind="stable")[:, :_K]
    recall = [np.isin(top[items], items).sum(axis=1).mean() / min(_K, len(items) - 1) for items in some]
    return np.array(recall), np.bincount(top.ravel(), minlength=len(similar))


def main():
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="trainings, default 2")
    parser.add_argument("--epochs", type=int, default=15, help="at most, default 15")
    args = parser.parse_args()
    base, figures = recipes.load("movielens"), []
    log, _ = ingest(base.source)
    for seed in range(args.seeds):
        training = dataclasses.replace(base.training, seed=seed, epochs=args.epochs)
        a = trained(dataclasses.replace(base, training=training), log)
        some, rng = sessions(a), np.random.default_rng(0)
        draws = rng.integers(0, len(some), (_REPLICATES, len(some)))
        found = {name: evaluated(similar, some) for name, similar in measures(a).items()}
        plain = found["cosine"][0]
        for name, (recall, lists) in found.items():
            low, high = np.quantile((recall - plain)[draws].mean(axis=1), [0.025, 0.975])
            figures.append({
                "measure": name, "seed": seed, "sessions": len(some), "recall@10": round(recall.mean(), 4),
                "gain": f"{(recall - plain).mean():+.4f} [{low:+.4f}, {high:+.4f}]", "most_lists": int(lists.max()),
                "skewness": round(float((((lists - lists.mean()) / lists.std()) ** 3).mean()), 2),
            })
            print(figures[-1], flush=True)
    common.record("similar_items", figures)


if __name__ == "__main__":
    main()
