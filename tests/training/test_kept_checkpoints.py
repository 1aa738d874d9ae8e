"""What a crash leaves of a training's files: it goes on where it can, and else says which file is at fault."""

import json
import logging
from pathlib import Path

import pytest
import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.pipeline import racing, runs
from tfrs_twotower.training import epoch_lines
from tfrs_twotower.training.fit import _restore_last
from tfrs_twotower.training.kept_checkpoints import discard_torn_first, kept_checkpoints, newest_checkpoint


@pytest.mark.parametrize("torn", [b"", b"model_checkpoint_pa", b'model_checkpoint_path: "ckpt-999"\n', None])
def test_checkpoints_are_found_where_tensorflow_s_list_of_them_is_torn(tmp_path, torn):
    step = tf.Variable(0)
    state = tf.train.Checkpoint(step=step)
    manager = tf.train.CheckpointManager(state, str(tmp_path), max_to_keep=2)
    for number in (5, 40, 100):
        step.assign(number)
        manager.save(checkpoint_number=number)
    assert kept_checkpoints(tmp_path) == [str(tmp_path / "ckpt-40"), str(tmp_path / "ckpt-100")]
    if torn is None:
        (tmp_path / "checkpoint").unlink()
    else:
        (tmp_path / "checkpoint").write_bytes(torn)
    step.assign(0)
    _restore_last(state, tmp_path)
    assert step.numpy() == 100
    data = tmp_path / "ckpt-100.index"
    data.write_bytes(data.read_bytes()[:10])
    _restore_last(state, tmp_path)  # the one before
    assert step.numpy() == 40
    assert newest_checkpoint(tmp_path / "none") is None


@pytest.mark.parametrize("listed", [False, True])
def test_a_first_checkpoint_cut_off_in_writing_is_discarded_and_one_damaged_later_is_not(tmp_path, listed):
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(step=tf.Variable(5)), str(tmp_path), max_to_keep=2)
    index = Path(f"{manager.save(checkpoint_number=5)}.index")
    if not listed:
        (tmp_path / "checkpoint").unlink()
    discard_torn_first(tmp_path)
    assert index.exists()  # it is whole
    index.write_bytes(index.read_bytes()[:10])
    discard_torn_first(tmp_path)
    assert kept_checkpoints(tmp_path) == ([str(tmp_path / "ckpt-5")] if listed else [])


def test_lines_of_a_history_that_are_torn_are_left_out_and_said(tmp_path, caplog):
    path = tmp_path / "history.jsonl"
    whole = [json.dumps({"epoch": n, "step": 10 * n}) for n in range(4)]
    lines = [whole[0].encode(), b"\xff\x00", b"[1]", whole[1].encode(), whole[3].encode(), b'{"st']
    path.write_bytes(b"\n".join(lines))
    with caplog.at_level(logging.WARNING):
        assert [line["epoch"] for line in epoch_lines.read(path)] == [0, 1, 3]
        caplog.clear()
        epoch_lines.forget_later(path, 20)
    assert path.read_text() == whole[0] + "\n" + whole[1] + "\n"
    assert [f"{path}: line {n} cannot be read" in record.message for n, record in zip((2, 3, 6), caplog.records)] == (
        [True] * 3
    )


def test_a_history_in_the_current_folder_is_rewritten_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("history.jsonl").write_text('{"epoch": 0, "step": 1}\n{"epoch": 1, "step": 2}\n')
    epoch_lines.forget_later(Path("history.jsonl"), 1)
    assert Path("history.jsonl").read_text() == '{"epoch": 0, "step": 1}\n'


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b"{}", b'{"weight": "x"}', b"\xff"])
def test_a_broken_file_of_weights_is_named_with_a_way_out(tmp_path, broken):
    (tmp_path / "popularity.json").write_bytes(broken)
    with pytest.raises(ConfigError, match="popularity.json cannot be read.* Remove it"):
        runs.score_weights(tmp_path)


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_broken_refusal_still_refuses(tmp_path, broken):
    (tmp_path / "refused.json").write_bytes(broken)
    with pytest.raises(ConfigError, match="refused.json, which says why, cannot be read.* Export another."):
        runs.check_passed(tmp_path, "Export another.")


@pytest.mark.parametrize("broken", [b"", b"[]", b"{}", b'{"candidates": 1}'])
def test_a_broken_race_is_named_with_a_way_out(tmp_path, broken):
    (tmp_path / "race.json").write_bytes(broken)
    with pytest.raises(ConfigError, match="race.json cannot be read.* Remove it"):
        racing._read(tmp_path / "race.json")
