"""MovieLens-1M from the archive's own files, for the protocols that papers use.

Half of the neighbours in this log share their second. Within it the rows stand in the order of the page that people
rated from, which says much about what comes next: papers that sort stably keep it, and so does this.
(tensorflow-datasets writes the rows in a shuffled order, so what it prepared is not used here.)
"""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

ARCHIVE = Path(__file__).parents[2] / "shared" / "data" / "ml-1m.zip"
TEMPORAL = 'split={"type": "Temporal", "validation": 0.05, "test": 0.1, "targets": "last"}'


def read(temporal=False, archive=ARCHIVE):
    """(ratings, users, films): frames; a user's ratings of one second are in the order of the file.

    Args:
      temporal: as the protocol in time has it (see `TEMPORAL` for the split), users and films have five ratings at
        least, and no film comes twice in a row.
      archive: where the archive is.
    """
    if not archive.is_file():
        raise SystemExit(f"needs {archive}, which is not here")
    with zipfile.ZipFile(archive) as opened:
        files = [opened.read(f"ml-1m/{name}.dat").decode("latin-1") for name in ("ratings", "users", "movies")]
    ratings, users, films = (pd.DataFrame([line.split("::") for line in file.splitlines()]) for file in files)
    ratings = pd.DataFrame({"user_id": ratings[0], "item_id": ratings[1], "rating": ratings[2].astype(np.float32),
                            "timestamp": ratings[3].astype(np.int64)})
    if temporal:
        ratings = five_core(ratings.sort_values("timestamp", kind="stable"))
        ratings = ratings[ratings.item_id != ratings.groupby("user_id").item_id.shift()]
        films = films[films[0].isin(ratings.item_id)]
    users = users.rename(columns={0: "user_id", 1: "gender", 2: "age", 3: "occupation", 4: "zip_code"})
    return ratings, users.astype({"age": np.float32}), pd.DataFrame({
        "item_id": films[0], "movie_title": films[1], "movie_genres": films[2].str.split("|"),
        "release_year": films[1].str.extract(r"\((\d{4})\)\s*$")[0].astype(np.int64),
    })


def five_core(log):
    """The rows whose user and item have five of these rows at least."""
    while True:
        kept = log[(log.groupby("user_id").item_id.transform("size") >= 5)
                   & (log.groupby("item_id").user_id.transform("size") >= 5)]
        if len(kept) == len(log):
            return log
        log = kept
