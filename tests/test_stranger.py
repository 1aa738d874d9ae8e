"""Questions to a stranger of a trained run: in Python and on the command line."""

import dataclasses
import io
import json

import numpy as np
import pytest
import toy

from tfrs_twotower.cli.main import main
from tfrs_twotower.errors import DataError
from tfrs_twotower.exporting import people
from tfrs_twotower.pipeline.searching import people as sampled


def cluster(items):
    """The planted cluster of each item."""
    _, truth = toy.planted()
    return [int(truth.item_cluster[int(item[1:])]) for item in items]


def test_answers_lead_to_what_the_stranger_likes(trained):
    """The stranger likes the items of cluster 2 and no others, and knows all."""
    stranger = trained.stranger()
    asked = []
    for _ in range(8):
        question = stranger.questions()["item_id"].iloc[0]
        asked.append(question)
        stranger.answer(question, cluster([question])[0] == 2)
    assert len(set(asked)) == 8 and 2 in cluster(asked)
    found = stranger.recommend(10)["item_id"]
    assert not set(found) & set(asked)
    assert cluster(found).count(2) >= 8
    first = stranger.questions(5)
    assert len(first) == 5 and not set(first["item_id"]) & set(asked) and (first["information"] > 0).all()
    with pytest.raises(DataError, match="be in the catalogue"):
        stranger.answer("nothing", True)


def test_ask_on_the_command_line(trained, capsys, monkeypatch):
    run, liked = str(trained.directory), [f"i{n}" for n in range(40) if cluster([f"i{n}"]) == [1]][:4]
    assert main(["ask", run, "-n", "2", "-k", "3", "--likes", *liked, "--asked", "i99", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [len(found[name]) for name in ("questions", "recommendations")] == [2, 3]
    assert cluster([row["item_id"] for row in found["recommendations"]]) == [1, 1, 1]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\nwhat\n?\n\nq\n"))
    assert main(["ask", run, "-k", "1"]) == 0
    said = capsys.readouterr().out
    assert said.count("[y/n/?/q]") == 5 and "rank" in said


def test_an_export_brings_a_sample_of_its_users(trained, tmp_path):
    found = sampled(trained.served)
    assert found.vectors.shape == (toy.USERS, trained.recipe.model.dim)
    np.testing.assert_allclose(found.events, len(trained.served.split.train) / toy.USERS)
    a, half = trained.served, len(trained.served.split.train) // 2
    split = dataclasses.replace(a.split, past=a.split.train[:half], train=a.split.train[half:])  # as in an update
    assert sampled(dataclasses.replace(a, split=split)).events == found.events
    people.write(tmp_path, found)
    again = people.read(tmp_path, {"files": {"assets.extra/people.npz": ""}})
    np.testing.assert_array_equal(again.vectors, found.vectors)
    assert again.events == found.events and people.read(tmp_path, {"files": {}}) is None
