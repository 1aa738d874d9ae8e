"""An evaluation in parts gives the figures of one in a piece, and continues where it was stopped."""

import dataclasses

import numpy as np
import pytest

from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.evaluation import DotScorer, Parts, evaluate_each, ranking

QUERIES, ITEMS, BLOCK = 500, 50, 32


class Counted:
    """A scorer that counts the queries that it scored, and breaks off after so many."""

    def __init__(self, seed=0, most=10 ** 6):
        generator = np.random.default_rng(seed)
        vectors = [generator.normal(size=(n, 8)) for n in (QUERIES, ITEMS)]
        self._scorer, self._most, self.scored = DotScorer(*vectors), most, 0
        self.size, self.catalogue = QUERIES, ITEMS

    def scores(self, start, stop):
        if self.scored >= self._most:
            raise KeyboardInterrupt
        self.scored += stop - start
        return self._scorer.scores(start, stop)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(ranking, "rows_at_once", lambda catalogue: BLOCK)


def evaluated(scorer, parts=None, other=None):
    """All and unseen targets of one scorer, and of another."""
    generator = np.random.default_rng(1)
    targets, seen = (Ragged.from_lists(generator.integers(-1, ITEMS, (QUERIES, n))) for n in (3, 5))
    other = other or Counted(7)
    asked = {"all": (scorer, targets, None), "new": (scorer, targets, seen), "other": (other, targets, None)}
    return evaluate_each(asked, np.arange(ITEMS), (5, 10), np.arange(QUERIES) % 3 == 0, bootstrap=50, parts=parts)


def assert_equal(found, expected):
    """To the last digit, query by query."""
    for name, evaluation in expected.items():
        for field in dataclasses.fields(evaluation):
            np.testing.assert_equal(getattr(found[name], field.name), getattr(evaluation, field.name))


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_parts_merge_exactly(parts, tmp_path):
    found = evaluated(Counted(), Parts(tmp_path / "ranks", -(-QUERIES // parts)))
    assert len(list(tmp_path.glob("ranks/*.npz"))) == 3 * {1: 1, 3: 3, 7: 6}[parts]  # of 96 queries, not 72
    assert_equal(found, evaluated(Counted()))


def test_a_stopped_evaluation_continues(tmp_path):
    parts = Parts(tmp_path, 100)  # 128: four blocks
    with pytest.raises(KeyboardInterrupt):
        evaluated(Counted(most=2 * BLOCK + 300), parts)  # the two blocks of the digest, then two parts and a half
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(kept) == 3 * 2
    scorer = Counted()
    assert_equal(evaluated(scorer, parts), evaluated(Counted()))
    assert scorer.scored == 2 * BLOCK + QUERIES - 256
    assert {path: path.stat().st_mtime_ns for path in kept} == kept and len(list(tmp_path.iterdir())) == 3 * 4


def test_a_damaged_part_is_ranked_again(tmp_path):
    parts, expected = Parts(tmp_path, 100), evaluated(Counted())
    evaluated(Counted(), parts)
    files = sorted(tmp_path.iterdir())
    whole = [file.read_bytes() for file in files]
    listed = whole[0].index(b"PK\1\2") + 6  # in the list of the file's members: the version of zip that one needs
    damages = (b"", whole[0][:100], whole[0][:-30], whole[0].replace(whole[0][200:204], b"\xff" * 4), b"PK" + whole[0],
               whole[0][:listed] + b"\xff" + whole[0][listed + 1:], whole[-1])  # the last has fewer queries
    for damage in damages:
        files[0].write_bytes(damage)
        assert_equal(evaluated(Counted(), parts), expected)
        assert files[0].read_bytes() == whole[0]


def test_what_has_changed_is_ranked_again(tmp_path):
    parts = Parts(tmp_path)
    evaluated(Counted(0), parts, Counted(7))
    same, other = Counted(0), Counted(8)
    assert_equal(evaluated(same, parts, other), evaluated(Counted(0), other=Counted(8)))
    assert (same.scored, other.scored) == (2 * BLOCK, 2 * BLOCK + QUERIES)
