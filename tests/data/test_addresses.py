"""Files of another file system: `memory://` of fsspec, which Arrow knows only through it, and `file://` of Arrow."""

import gzip
import zipfile

import fsspec
import pandas as pd
import pytest

from tfrs_twotower.data import Columns, Files, Prepared, ingest, prepare
from tfrs_twotower.errors import DataError

NOON = 1_600_000_000


@pytest.fixture(params=["memory", "file"])
def bucket(request, tmp_path):
    """(address of an empty folder, a function that writes bytes into it by a name)."""
    address = "memory://bucket" if request.param == "memory" else tmp_path.as_uri()
    system, root = fsspec.core.url_to_fs(address)
    yield address, lambda name, data: (system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True),
                                       system.pipe(f"{root}/{name}", data))
    if request.param == "memory":
        system.rm(root, recursive=True)


def events(user, n=3):
    return pd.DataFrame({"user_id": [user] * n, "item_id": [f"i{i}" for i in range(n)], "timestamp": [NOON] * n})


def users(address, **options):
    return sorted(set(ingest(Files(address, **options))[0].users["user_id"].to_pylist()))


def test_a_file_a_folder_and_a_pattern(bucket):
    address, put = bucket
    for name in ("a", "b c", "deep/d"):
        put(f"log/{name}.csv", events(name).to_csv(index=False).encode())
    put("log/.hidden.csv", b"no log")
    put("log/_SUCCESS", b"")
    put("log/_aside/other.csv", b"no log")
    assert users(f"{address}/log/b c.csv") == ["b c"]
    assert users(f"{address}/log") == users(f"{address}/log/") == users(f"{address}/log/**/*.csv") == [
        "a", "b c", "deep/d"]
    assert users(f"{address}/log/*.csv") == users(f"{address}/l*g/*.csv") == ["a", "b c"]
    with pytest.raises(DataError, match="name files that are there.*gone"):
        users(f"{address}/gone")


def test_parquet_in_folders_that_give_a_column(bucket):
    address, put = bucket
    for day in (1, 2):
        put(f"log/day={day}/x.parquet", events(f"u{day}").to_parquet())
    put("items.parquet", pd.DataFrame({"item_id": ["i0"], "price": [5]}).to_parquet())
    log, _ = ingest(Files(f"{address}/log", items_path=f"{address}/items.parquet", columns=Columns(context=("day",))))
    assert log.context["day"].to_pylist() == [1, 1, 1, 2, 2, 2] and log.items["price"].to_pylist() == [5, None, None]


def test_what_is_packed(bucket):
    address, put = bucket
    text = events("a").to_csv(index=False).encode()
    put("log.csv.gz", gzip.compress(text))
    with fsspec.open(f"{address}/log.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inside.csv", text)
    assert users(f"{address}/log.csv.gz") == users(f"{address}/log.zip") == ["a"]


def test_a_log_at_an_address_is_prepared_as_a_local_one(bucket, tmp_path):
    address, put = bucket
    for name in ("a", "b"):
        put(f"log/{name}.csv", events(name).to_csv(index=False).encode())
    prepare(Files(f"{address}/log"), tmp_path / "prepared")
    assert Prepared(f"{tmp_path}/prepared").manifest.fingerprint == ingest(Files(f"{address}/log"))[0].fingerprint()


def test_an_address_of_no_known_file_system_is_refused():
    with pytest.raises(DataError, match="nowhere://x/: Arrow has no such file system .* Install fsspec"):
        users("nowhere://x/log.csv")


def test_a_password_in_an_address_is_refused_and_not_repeated():
    """Else the run's config.json and a dataset's manifest would hold it."""
    with pytest.raises(DataError, match="must hold no password.*AWS_SECRET_ACCESS_KEY") as error:
        ingest(Files("s3://me:s3cret@bucket/log.parquet"))
    assert "s3cret" not in str(error.value)
