"""The defaults for plain files on logs of other kinds, beside the baselines, with and without popularity in the score.

    .venv/bin/python -m bench.bench_defaults             all logs, less than half an hour on 2 cores
    .venv/bin/python -m bench.bench_defaults --seeds 1   one seed

Each log is a file of events and one of items, given to the recipe `plain` with nothing set, as `twotower train
--interactions … --items …` does: the split is in time, and all later items of a user are the targets. "towers" is the
trained model with a weight of popularity of 0; "served" is the same model with the weight that validation chose.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import pandas as pd

from bench import common, movielens_1m
from bench.bench_quality import baselines, row
from tfrs_twotower import recipes
from tfrs_twotower.data import Columns, Files
from tfrs_twotower.recommender import Recommender

DATA = movielens_1m.ARCHIVE.parent


def movielens_1m_files():
    """Ratings and films, without the users' table."""
    ratings, _, films = movielens_1m.read()
    return ratings, films.assign(movie_genres=films.movie_genres.str.join("|")), Columns()


def latest_small_files():
    """Ratings and films of MovieLens latest-small."""
    log, films = (pd.read_csv(f"zip://ml-latest-small/{name}.csv::{DATA / 'ml-latest-small.zip'}")
                  for name in ("ratings", "movies"))
    return log, films, Columns(user_id="userId", item_id="movieId")


def online_retail_files():
    """A year of a shop's invoices: the lines that name a customer and are no return."""
    log = pd.read_parquet(DATA / "online-retail")
    log = log[log.CustomerID.notna() & (log.Quantity > 0)].astype({"CustomerID": int})
    items = log.groupby("StockCode").Description.first().reset_index()
    return (log[["CustomerID", "StockCode", "InvoiceDate", "Quantity", "UnitPrice", "Country"]], items,
            Columns(user_id="CustomerID", item_id="StockCode", timestamp="InvoiceDate"))


LOGS = {
    "MovieLens-1M": movielens_1m_files, "MovieLens latest-small": latest_small_files,
    "Online Retail": online_retail_files,
}


def figures_of(name, files, seed, folder):
    """The lines of one log and one seed."""
    log, items, columns = files()
    paths = [str(Path(folder) / f"{name}-{part}.csv") for part in ("log", "items")]
    for frame, path in zip((log, items), paths):
        frame.to_csv(path, index=False)
    recipe = dataclasses.replace(recipes.load("plain"), source=Files(paths[0], items_path=paths[1], columns=columns))
    recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, seed=seed))
    a = Recommender(recipe, directory=Path(folder) / f"{name}-{seed}").fit(verbose=0).assembly
    chosen, judged = a.popularity_weight, baselines(a)
    lines = [row(name, other, "–", evaluation) for other, evaluation in judged.items()] if seed == 0 else []
    for model, a.popularity_weight in (("towers", 0.0), ("served", chosen)):
        evaluation = a.judge(a.split.test, a.model_scorer(a.split.test))
        lines.append({**row(name, model, seed, evaluation, judged), "popularity_weight": a.popularity_weight})
    return [{"log": line.pop("split"), **line} for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    figures = []
    for name, files in LOGS.items():
        for seed in range(args.seeds):
            with tempfile.TemporaryDirectory() as folder:
                figures += figures_of(name, files, seed, folder)
            print(common.table(figures[-2:]), flush=True)
    common.record("defaults", figures)


if __name__ == "__main__":
    main()
