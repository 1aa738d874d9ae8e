"""Files that are whole on disk or not there at all."""

import pytest

from tfrs_twotower.durable import written_aside
from tfrs_twotower.pipeline import runs


def test_an_error_leaves_the_earlier_file_alone_and_nothing_beside_it(tmp_path):
    path = tmp_path / "figures"
    with written_aside(path) as file:
        file.write(b"whole")
    with pytest.raises(KeyboardInterrupt), written_aside(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    with pytest.raises(ValueError):
        runs.write_json(path, {"a": float("nan")})
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_replaced_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError), written_aside(tmp_path / "folder") as file:
        file.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
