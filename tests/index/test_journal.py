"""The log of an index that changes: cut, corrupted or refused by the disk, it keeps what was acknowledged."""

import os

import numpy as np
import pytest
from flat_index import Flat

from tests.index.durable_index import DIM, SPACE, held, opened
from tfrs_twotower.errors import IndexingError
from tfrs_twotower.index.mutable import Journal, MutableIndex, changes, frames

STEPS = [
    lambda i: i.upsert(["a", "é"], [[1, 2], [3, 4]]),
    lambda i: i.delete(["a"]),
    lambda i: i.upsert(["c", "a"], [[5, 6], [7, 8]]),
    lambda i: i.upsert(["é"], [[9, 9]]),
    lambda i: i.delete(["c", "é"]),
]


def written(folder):
    """A log with one record for each of STEPS: (path, end of the header, [(end of the record, items then)])."""
    index = opened(folder)
    path = folder / "log-0"
    ends, start = [], os.path.getsize(path)
    for step in STEPS:
        step(index)
        ends.append((os.path.getsize(path), held(index)))
    index.close()
    return path, start, ends


def test_all_that_was_acknowledged_is_there_after_opening_again(tmp_path):
    for id_type, ids in ((str, ["a", "é", "x" * 300]), (int, [-5, 0, 2**63 - 1])):
        folder = tmp_path / id_type.__name__
        index = opened(folder, id_type)
        index.upsert(ids, [[1, 0], [2, 0], [3, 0]])
        index.delete(ids[:1])
        index.upsert(ids[1:2], [[4, 0]])
        index.close()
        again = opened(folder, id_type)
        assert held(again) == {ids[1]: [4, 0], ids[2]: [3, 0]}
        assert again.search([[1, 0]], 3).ids.tolist() == [[ids[1], ids[2], "" if id_type is str else -1]]
        again.close()


def test_cut_at_every_byte(tmp_path):
    """What is left is what whole records say; the next change lands behind them and stays."""
    path, start, ends = written(tmp_path / "whole")
    data = path.read_bytes()
    for size in range(start, len(data) + 1):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "log-0").write_bytes(data[:size])
        expected = next((items for end, items in reversed(ends) if end <= size), {})
        index = opened(folder)
        assert held(index) == expected, size
        index.upsert(["later"], [[0, 1]])
        index.close()
        index = opened(folder)
        assert held(index) == {**expected, "later": [0, 1]}, size
        index.close()


def test_a_byte_changed_anywhere(tmp_path):
    """In the last record it counts as torn; before, what was acknowledged is lost, which is said."""
    path, start, ends = written(tmp_path / "whole")
    data = path.read_bytes()
    last = ends[-2][0]
    for at in range(len(data)):
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / "log-0").write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1:])
        if at >= last:
            index = opened(folder)
            assert held(index) == ends[-2][1], at
            index.close()
        else:
            with pytest.raises(IndexingError, match="damaged at byte"):
                opened(folder)


@pytest.mark.parametrize("tail", [b"\0" * 40, b"TTRC", b"TTRC" + b"\xff" * 30, bytes(range(256))])
def test_garbage_behind_the_last_record_is_cut_off(tmp_path, tail):
    path, _, ends = written(tmp_path)
    path.write_bytes(path.read_bytes() + tail)
    index = opened(tmp_path)
    assert held(index) == ends[-1][1]
    index.close()
    assert os.path.getsize(path) == ends[-1][0]


def test_a_header_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "log-0").write_bytes(b"")
    with pytest.raises(IndexingError, match="no readable header"):
        opened(tmp_path)
    (tmp_path / "log-0").write_bytes(b"some other file")
    with pytest.raises(IndexingError, match="no readable header"):
        opened(tmp_path)


def test_a_missing_log_is_noticed(tmp_path):
    index = opened(tmp_path)
    index.compact()
    index.close()
    (tmp_path / "log-1").unlink()
    with pytest.raises(IndexingError, match="log-1 is missing"):
        opened(tmp_path)


def test_another_space_dimension_or_type_of_ids_is_refused(tmp_path):
    written(tmp_path)
    with pytest.raises(IndexingError, match="belongs to {'embedding_space': 'space-1'}.*asked for.*'space-2'"):
        opened(tmp_path, space="space-2")
    with pytest.raises(IndexingError, match="'ids': 'str'"):
        opened(tmp_path, id_type=int)
    with pytest.raises(IndexingError, match="'dim': 2"):
        MutableIndex(Flat, DIM + 1, folder=tmp_path, space=SPACE)
    opened(tmp_path).close()


def test_a_folder_is_open_once(tmp_path):
    index = opened(tmp_path)
    with pytest.raises(IndexingError, match="open in another process"):
        opened(tmp_path)
    index.close()
    with pytest.raises(IndexingError, match="was closed"):
        index.upsert(["a"], [[1, 1]])
    assert len(index) == 0
    opened(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IndexingError, match="cannot be written"):
        opened(tmp_path / "file" / "folder")


def test_compact_leaves_a_snapshot_and_an_empty_log(tmp_path):
    index = opened(tmp_path)
    for n in range(50):
        index.upsert(["a", f"i{n % 7}"], [[n, n], [n, 0]])
    index.delete(["i3"])
    before = held(index)
    index.compact()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lock", "log-1", "snapshot-1"]
    index.upsert(["after"], [[1, 1]])
    index.close()
    again = opened(tmp_path)
    assert held(again) == {**before, "after": [1, 1]}
    again.compact()
    again.compact()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lock", "log-3", "snapshot-3"]
    again.close()
    again = opened(tmp_path)
    assert held(again) == {**before, "after": [1, 1]}
    again.close()


def test_a_snapshot_of_several_records(tmp_path, monkeypatch):
    from tfrs_twotower.index.mutable import mutable_index

    monkeypatch.setattr(mutable_index, "_PART", 3)
    index = opened(tmp_path)
    index.upsert([str(n) for n in range(10)], [[n, 0] for n in range(10)])
    index.compact()
    index.close()
    assert len(list(frames.records(tmp_path / "snapshot-1"))) == 1 + 4
    index = opened(tmp_path)
    assert held(index) == {str(n): [n, 0] for n in range(10)}
    index.close()


def test_a_change_that_the_disk_refuses_changes_nothing(tmp_path, monkeypatch):
    index = opened(tmp_path)
    index.upsert(["a"], [[1, 1]])
    write, full = os.pwrite, [True]

    def pwrite(descriptor, data, at):
        if not full[0]:
            return write(descriptor, data, at)
        if len(data) > 8:
            return write(descriptor, data[:8], at)  # a part fits, then the disk is full
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(IndexingError, match="No space left.*Nothing was changed"):
        index.upsert(["b"], [[2, 2]])
    with pytest.raises(IndexingError, match="No space left"):
        index.delete(["a"])
    assert held(index) == {"a": [1, 1]}
    full[0] = False
    index.upsert(["c"], [[3, 3]])
    index.close()
    again = opened(tmp_path)
    assert held(again) == {"a": [1, 1], "c": [3, 3]}
    again.close()


def test_after_a_failed_flush_changes_are_refused_until_a_new_log(tmp_path, monkeypatch):
    index = opened(tmp_path)
    index.upsert(["a"], [[1, 1]])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(IndexingError, match="cannot be flushed"):
            index.upsert(["b"], [[2, 2]])
    with pytest.raises(IndexingError, match="failed before"):
        index.upsert(["b"], [[2, 2]])
    assert held(index) == {"a": [1, 1]}
    index.compact()
    index.upsert(["c"], [[3, 3]])
    index.close()
    again = opened(tmp_path)
    assert held(again) == {"a": [1, 1], "c": [3, 3]}
    again.close()


def test_records_that_are_no_changes_are_refused(tmp_path):
    journal = Journal(tmp_path, {"embedding_space": SPACE, "dim": DIM, "ids": "str"})
    journal.append(b"\x07\x01\x00\x00\x00whatever")
    journal.close()
    with pytest.raises(IndexingError, match="no change|not a change"):
        opened(tmp_path)
    with pytest.raises(IndexingError, match="no change|not a change"):
        opened(tmp_path)  # the refusal let go of the folder


def test_changes_are_bytes_and_back():
    vectors = np.array([[1.5, -2], [0, 3e38]], np.float32)
    for id_type, ids in ((str, ["", "人a\0"]), (int, [-2**63, 2**63 - 1])):
        change = changes.decode(changes.encode(changes.Upsert(ids, vectors)), id_type, 2)
        assert change.keys == ids and change.vectors.tolist() == vectors.tolist()
        assert changes.decode(changes.encode(changes.Delete(ids)), id_type, 2) == changes.Delete(ids)
        for cut in range(len(changes.encode(changes.Upsert(ids, vectors)))):
            with pytest.raises(IndexingError):
                changes.decode(changes.encode(changes.Upsert(ids, vectors))[:cut], id_type, 2)


def test_a_record_is_at_most_two_gigabytes(monkeypatch):
    monkeypatch.setattr(frames, "_LONGEST", 10)
    with pytest.raises(IndexingError, match="at most 10 bytes"):
        frames.frame(b"x" * 11)
