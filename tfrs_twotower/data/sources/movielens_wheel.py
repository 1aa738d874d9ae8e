"""MovieLens 100K from a wheel on the package index, put into TFDS's download cache in place of the official archive.

The wheel's files hold the official ratings and users and all titles and genres; only release dates and
addresses are missing, which TFDS does not read.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tfrs_twotower.errors import DataError

WHEEL = "recbole==1.2.1"
_FOLDER = "recbole/dataset_example/ml-100k/ml-100k"
_SHA256 = {
    "inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}
MEMBERS = tuple(f"{_FOLDER}.{name}" for name in _SHA256)
_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)
# Titles that differ in the official file: a blank at the end, and the film without a name.
_TITLES = {
    "267": "unknown",
    "1128": "Heidi Fleiss: Hollywood Madam (1995) ",
    "1201": "Marlene Dietrich: Shadow and Light (1996) ",
    "1635": "Two Friends (1986) ",
}
_TIMEOUT_S = 300


def is_cached(url: str, cache: str | os.PathLike[str]) -> bool:
    """True when TFDS's download cache (a folder) holds the archive of `url`."""
    path = cache_path(url, cache)
    return path.exists() and Path(f"{path}.INFO").exists()


def place(url: str, cache: str | os.PathLike[str], wheel: str | os.PathLike[str] | None = None) -> None:
    """Verifies the wheel and writes the archive into TFDS's download cache.

    Args:
      url: the address of the official archive
      cache: TFDS's download folder
      wheel: path of the wheel; downloaded with pip by default

    Raises:
      DataError: pip cannot download the wheel, or a checksum differs.
    """
    with tempfile.TemporaryDirectory() as folder:
        members = read_wheel(wheel or download(folder))
    archive = cache_path(url, cache)
    archive.parent.mkdir(parents=True, exist_ok=True)
    aside = archive.with_name(f"{archive.name}.{os.getpid()}.aside")
    write_archive(members, aside)
    data = aside.read_bytes()
    # TFDS finds a cached archive by its name and this file beside it, and does not hash it again.
    checksum = hashlib.sha256(data).hexdigest()
    info = {
        "urls": [url],
        "dataset_names": ["movielens"],
        "original_fname": "ml-100k.zip",
        "url_info": {"size": len(data), "checksum": checksum, "filename": "ml-100k.zip"},
    }
    Path(f"{archive}.INFO").write_text(json.dumps(info, sort_keys=True))
    os.replace(aside, archive)


def cache_path(url: str, cache: str | os.PathLike[str]) -> Path:
    """The Path of the archive of `url` in TFDS's download cache."""
    from tensorflow_datasets.core.download import checksums, resource

    return Path(cache) / resource.get_dl_fname(url, checksums.get_all_url_infos()[url].checksum)


def download(folder: str | os.PathLike[str]) -> Path:
    """Downloads the wheel into a folder with pip and returns its path; raises `DataError` where it cannot."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
               "--disable-pip-version-check", "--timeout=15", "--retries=1", f"--dest={folder}", WHEEL]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"pip took longer than {_TIMEOUT_S} s to download {WHEEL}") from error
    wheels = list(Path(folder).glob("*.whl"))
    if result.returncode or not wheels:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"pip cannot download {WHEEL}: {last}")
    return wheels[0]


def read_wheel(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """{"inter", "item", "user": bytes} out of the wheel; raises `DataError` where a checksum differs."""
    members = {}
    with zipfile.ZipFile(path) as wheel:
        for name, expected in _SHA256.items():
            data = wheel.read(f"{_FOLDER}.{name}")
            actual = hashlib.sha256(data).hexdigest()
            if actual != expected:
                raise DataError(f"{_FOLDER}.{name} of {WHEEL} has SHA-256 {actual}, not {expected}")
            members[name] = data
    return members


def write_archive(members: Mapping[str, bytes], path: str | os.PathLike[str]) -> None:
    """Writes ml-100k.zip with the official files that TFDS reads."""
    files = {
        "u.data": _lines(members["inter"]),
        "u.user": [line.replace("\t", "|") for line in _lines(members["user"])],
        "u.item": [_item(line) for line in _lines(members["item"])],
        "u.genre": [f"{genre}|{number}" for number, genre in enumerate(_GENRES)],
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in files.items():
            archive.writestr(f"ml-100k/{name}", "".join(f"{line}\n" for line in lines).encode("iso-8859-1"))


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8").splitlines()[1:]


def _item(line: str) -> str:
    """`id|title (year)|release date|video date|address|19 genre flags`, without dates and address."""
    genres: str | list[str]
    item, title, year, genres = line.split("\t")
    genres = genres.split(" ")
    flags = ["1" if genre in genres else "0" for genre in _GENRES]
    return "|".join([item, _TITLES.get(item, f"{title} ({year})"), "", "", "", *flags])
