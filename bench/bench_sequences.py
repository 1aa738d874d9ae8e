"""Sequence towers: the step against bare TensorFlow, and quality by the protocols of the papers.

    python -m bench.bench_sequences speed [--rounds 5]
    python -m bench.bench_sequences ml-1m [--seeds 0]          the request's time unknown
    python -m bench.bench_sequences ml-1m-request-time         the request's time known
    python -m bench.bench_sequences ml-1m-temporal             split in time at quantile .9, 5-core, target: the last
    python -m bench.bench_sequences beauty                     Amazon Beauty, 5-core
    --folder FOLDER    where checkpoints are kept: a stopped training goes on from its last epoch
    --seeds 0 1        trains each, and ranks by their vectors side by side as well
    --all-but-last     of leave-last-out: the validation events train as well, for the epochs that were chosen without
    --baselines        trains nothing: fits the record's baselines again, beside the models' rows that stand there

Quality is the `hstu` recipe with the settings below (some hours on 2 cores for ml-1m). The whole catalogue is ranked,
what the user has met is left out. Validation chooses the epoch; test is ranked once, when training has ended.
Data: ../shared/data; see movielens_1m.py.

"bare" in `speed` is the same network and loss as one would write them down with TensorFlow alone: Keras' Adam, all
scores at once, no mask for what the user has met, no checks. A ratio below 1 means that ours takes less time.
"""

import argparse
import dataclasses
import datetime
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

import tfrs_twotower  # noqa: F401
from bench import common, movielens_1m
from bench.bare_sequences import BareHSTU, BareSASRec
from tfrs_twotower import recipes
from tfrs_twotower.configuration import override
from tfrs_twotower.data import Frames, ingest
from tfrs_twotower.evaluation import EASE, IALS, DotScorer, ItemKNN, Popularity, history_matrix
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.training import fit
from tfrs_twotower.training.optimizers import build

import tensorflow as tf  # isort: skip

BEAUTY = Path(__file__).parents[2] / "shared" / "data" / "amazon-beauty" / "Beauty.txt"
CLASSIC = {  # baseline: its class and the settings that validation chooses
    "item_knn": (ItemKNN, ["neighbours"]), "ease": (EASE, ["penalty"]),
    "ials": (IALS, ["alpha", "regularization", "iterations"]),
}
ENOUGH = ("evaluation.baseline_seconds=1200",)
COSINE = 'training.optimizer.schedule={"type": "WarmupCosine", "warmup": 0.0, "final": 0.0}'
LONG = ["training.batch_size=6400", "training.epochs=42", "training.patience=0", "training.average=0.998", COSINE]
NO_REQUEST_TIME = "schema.query.0.request_time=false"
QUALITY = {
    "ml-1m": [*LONG, NO_REQUEST_TIME, "training.epochs=32"],
    "ml-1m-request-time": LONG,
    "ml-1m-temporal": [*LONG, movielens_1m.TEMPORAL],
    "beauty": [
        *LONG, NO_REQUEST_TIME, "schema.query.0.length=50", 'schema.candidate=[{"type": "Id", "column": "item_id", '
        '"dim": 64, "dropout": 0.0}, {"type": "MultiValue", "column": "attributes", "dim": 32}, '
        '{"type": "GraphVector", "factors": 256, "layers": 2, "dim": 64}]',
        "model.query_encoder.dropout=0.5", "model.query_encoder.length=50", "training.batch_size=1600",
        "training.epochs=26", "training.average=0.99", "training.optimizer.learning_rate=0.001",
    ],
}


def beauty():
    """Amazon Beauty: each user's items in order, whose place stands for the time, and the items' attributes."""
    if not BEAUTY.is_file():
        raise SystemExit(f"needs {BEAUTY}, which is not here")
    rows = [(int(user), int(item), place + 1)
            for user, *items in (line.split() for line in BEAUTY.read_text().splitlines())
            for place, item in enumerate(items)]
    attributes = json.loads(BEAUTY.with_name("Beauty_item2attributes.json").read_text())
    return Frames(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]), items=pd.DataFrame({
        "item_id": [int(item) for item in attributes], "attributes": list(attributes.values()),
    }))


def source(name):
    """The log of a protocol."""
    return beauty() if name == "beauty" else Frames(*movielens_1m.read(temporal=name == "ml-1m-temporal"))


def quality(name, seeds, folder, note, settings, all_but_last):
    """Trains (or goes on with) one protocol and records its test figures beside the baselines'."""
    figures, scorers = [], []
    for seed in seeds:
        a, report, kept = trained(name, seed, folder, settings, all_but_last)
        test = a.split.test
        scorers.append(a.model_scorer(test))
        if len(scorers) == 1:
            figures += baseline_lines(a, name, all_but_last)[0]
        if a.recipe.schema.query[0].request_time:
            not_told = DotScorer(untimed(a, test), scorers[-1].candidates)
            figures.append(line("hstu, the moment of the request not told", seed, a.evaluate(test, not_told)))
        evaluated = a.evaluate(test, scorers[-1])
        figures.append(line("hstu", seed, evaluated) | {"epochs": report.epochs})
        if not all_but_last:
            figures[-1] |= {"validation ndcg@10": round(report.best, 4), "best epoch": report.best_epoch + 1}
        figures[-1] |= {
            "targets sha256": evaluated.targets_sha256[:16], "checkpoint sha256": checkpoint_hash(kept)[:16],
            "note": note,
        }
    if len(seeds) > 1:  # one inner product, so one index, as in `EnsembleTower`; unit vectors keep their length
        beside = (np.concatenate(side, axis=1) / len(seeds) ** 0.5
                  for side in zip(*((s.queries, s.candidates) for s in scorers)))
        figures.append(line("hstu, the seeds' vectors side by side", None, a.evaluate(test, DotScorer(*beside))))
    common.record(record_name(name, all_but_last), figures)


def record_name(name, all_but_last):
    """Of a protocol."""
    return f"sequences_{name.replace('-', '_')}{'_all_but_last' * all_but_last}"


def baselines(name, all_but_last):
    """Fits the baselines of a record again. The models' rows stay; they must be of the same targets."""
    path = common.RESULTS / f"{record_name(name, all_but_last)}.json"
    record = json.loads(path.read_text())
    models = [row for row in record["figures"] if row["model"].startswith("hstu")]
    lines, targets = baseline_lines(assembled(name, 0, ENOUGH, all_but_last), name, all_but_last)
    if any(row.get("targets sha256", targets) != targets for row in models):
        raise SystemExit(f"The models of the record ranked other targets than {targets}. Train them again.")
    note = f"--baselines, {datetime.date.today()}"
    record["figures"] = [line | {"note": note} for line in lines] + models
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(common.table(record["figures"]))


def baseline_lines(a, name, all_but_last):
    """(lines of the baselines, the targets' hash). Where validation trains as well, a split without it chooses."""
    test = a.split.test
    scorers = retuned(a, name) if all_but_last else a.baselines(test)
    if name == "beauty":
        scorers.pop("popularity_last_week", None)  # it has no times
    evaluated = {model: a.evaluate(test, scorer) for model, scorer in scorers.items()}
    hashes = {e.targets_sha256[:16] for e in evaluated.values()}
    return [line(model, None, e) for model, e in evaluated.items()], *hashes


def retuned(a, name):
    """{baseline: scorer}, with the settings that validation chose while it did not train, fitted on all that trains."""
    histories, visits = a.terms.histories(a.split.test.row, len(a.log)), a.terms.events.visits()
    found = {"popularity": Popularity(a.terms.events.counts(), len(histories))}
    for model, chosen in assembled(name, 0, ENOUGH, False).fitted_baselines.settings.items():
        fit, names = CLASSIC[model]
        matrix = history_matrix(histories, len(a.catalogue), chosen["history"])
        found[model] = fit(visits, **{key: chosen[key] for key in names}).scorer(matrix)
    return found


def assembled(name, seed, settings, all_but_last):
    """The assembly of a protocol, not trained."""
    recipe = override(recipes.load("hstu"), [*QUALITY[name], f"training.seed={seed}", *settings])
    log, _ = ingest(source(name))
    split = recipe.split.split(log)
    if all_but_last:
        split = dataclasses.replace(split, train=np.union1d(split.train, split.validation.row))
    return assemble(recipe, log, split=split)


def trained(name, seed, folder, settings, all_but_last):
    """(the assembly with the kept epoch's weights, the training's report, its folder)."""
    a = assembled(name, seed, settings, all_but_last)
    folder = Path(folder) / f"{name}{'-all-but-last' * all_but_last}-{seed}"

    def validate():
        if all_but_last:  # nothing is left to choose an epoch by: the last one counts
            return {a.recipe.training.monitor: float(a.model.optimizer.iterations.numpy())}
        return a.evaluate(a.split.validation, a.model_scorer(a.split.validation), bootstrap=0).metrics

    return a, fit(a.model, a.batches, a.recipe.training, validate, folder, verbose=0), folder


def untimed(a, queries):
    """float32 [q, dim]: the query vectors of requests without a time; the newest event's then stands for it."""
    vectors = []
    for start in range(0, len(queries), 256):
        gathered = a.examples.gather(queries.row[start: start + 256])
        for past in gathered["past"].values():
            past["now"] = np.zeros_like(past["now"])
        vectors.append(a.model.query_tower(a.examples.finish(gathered)).numpy())
    return np.concatenate(vectors)


def line(model, seed, evaluation):
    """One line of the table."""
    shown = {"model": model, "seed": seed, "queries": evaluation.queries}
    for metric in ("hit_rate@10", "ndcg@10", "hit_rate@50", "hit_rate@200"):
        low, high = evaluation.intervals[metric]
        shown[metric] = f"{evaluation.metrics[metric]:.4f} [{low:.3f}, {high:.3f}]"
    return {**shown, "coverage@10": round(evaluation.metrics["coverage@10"], 3)}


def checkpoint_hash(folder):
    """SHA-256 of the best weights' data file."""
    data = Path(tf.train.latest_checkpoint(str(folder / "best")) + ".data-00000-of-00001")
    return hashlib.sha256(data.read_bytes()).hexdigest()


def speed(rounds, windows=32, length=200):
    """Times a training step of the recipes and of bare TensorFlow at the shape of MovieLens-1M: 3,706 items."""
    figures = []
    for name, bare in (("sasrec", BareSASRec), ("hstu", BareHSTU)):
        ours, batch = our_step(name, windows, length)
        theirs = bare(items=3706, dim=64, length=length).step(batch)
        seconds = common.interleaved({"ours": ours, "bare": theirs}, rounds)
        ratio = common.median([a / b for a, b in zip(seconds["ours"], seconds["bare"])])
        for model, times in seconds.items():
            figures.append({
                "recipe": name, "step": model, "batch": f"{windows} x {length}",
                "step_ms": 1000 * common.median(times),
                "events_per_second": windows * length / common.median(times),
                "ours_to_bare": ratio if model == "ours" else 1.0,
            })
    common.record("sequence_steps", figures)


def our_step(name, windows, length, users=64, items=3706, events=260):
    """(a training step of the recipe, its batch), on random events of as many items as MovieLens-1M has."""
    rng = np.random.default_rng(0)
    ids = np.concatenate([np.arange(items), rng.integers(0, items, users * events - items)])
    frame = pd.DataFrame({
        "user_id": np.repeat(np.arange(users), events), "item_id": rng.permutation(ids),
        "timestamp": 1 + np.cumsum(rng.integers(0, 100, users * events)),
    })
    table = pd.DataFrame({"item_id": np.arange(items), "movie_genres": [["a"]] * items, "release_year": 2000})
    recipe = dataclasses.replace(recipes.load(name), title=None)
    recipe = override(recipe, [f"training.batch_size={windows * length}"])
    log, _ = ingest(Frames(frame, items=table))
    a = assemble(recipe, log)
    a.model.compile(optimizer=build(recipe.training.optimizer, 1000))
    data = a.batches.dataset(0, 4)
    batch = next(b for b in data if b["past_id"].shape == (windows, length) and (b["past_id"].numpy() >= 0).all())
    a.model.create_weights(batch)
    step = tf.function(a.model.train_step, input_signature=[data.element_spec])
    return lambda: float(step(batch)["loss"]), batch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="speed", choices=["speed", *QUALITY])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--all-but-last", action="store_true")
    parser.add_argument("--baselines", action="store_true")
    parser.add_argument("--folder", default="runs/bench_sequences")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as in `twotower train`")
    parser.add_argument("--note", default="", help="what else to say of the training, for the record")
    args = parser.parse_args()
    if args.what == "speed":
        speed(args.rounds)
    elif args.baselines:
        baselines(args.what, args.all_but_last)
    else:
        quality(args.what, args.seeds, args.folder, args.note, args.set, args.all_but_last)


if __name__ == "__main__":
    main()
