"""The update of user rows alone: what moves, what does not, and what a loaded export then answers."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import toy

from tfrs_twotower import columns as c
from tfrs_twotower.cli.main import main
from tfrs_twotower.data import Files, InteractionLog, Temporal
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.exporting import Key, Seal, integrity, manifest, user_deltas
from tfrs_twotower.features import History, Id, Schema, fingerprints
from tfrs_twotower.pipeline import runs
from tfrs_twotower.recipe import Member, ModelConfig
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.serving.repository import Repository
from tfrs_twotower.towers import SASRec
from tfrs_twotower.updates import revert_users, update_users, user_events, user_update

NEW = "newcomer"
MEMBER = ModelConfig(dim=16, popularity_weights=(0.0,), neighbours=None, repeats=None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An exported run without histories, so that only a user's row can move their vector."""
    folder = tmp_path_factory.mktemp("users")
    frames, _ = toy.planted()
    pq.write_table(pa.Table.from_pandas(frames["interactions"], preserve_index=False), folder / "log.parquet")
    recipe = dataclasses.replace(
        toy.recipe(epochs=2), source=Files(path=str(folder / "log.parquet")), split=Temporal(0.05, 0.05),
        schema=Schema(query=(Id(c.USER_ID, dim=8),), candidate=(Id(c.ITEM_ID, dim=8),)),
    )
    recommender = Recommender(recipe, directory=folder / "toy" / "run").fit(verbose=0)
    recommender.export()
    return recommender, folder


def events(folder, name, users, items, start):
    table = pa.table({c.USER_ID: users, c.ITEM_ID: items, c.TIMESTAMP: [start + i for i in range(len(users))]})
    pq.write_table(table, folder / name)
    return Files(path=str(folder / name))


def test_only_the_rows_of_users_with_new_events_move_and_a_loaded_version_takes_them(run):
    recommender, folder = run
    log = recommender.assembly.log
    users, items = log.users[c.USER_ID].to_pylist(), log.items[c.ITEM_ID].to_pylist()
    start = int(log.timestamp[-1]) + 1
    before = {str(i): v.numpy() for i, v in enumerate(recommender.assembly.model.trainable_variables)}
    # A known user turns to one item, a newcomer to another.
    day = events(folder, "day.parquet", [users[3]] * 40 + [NEW] * 40, [items[0]] * 40 + [items[1]] * 40, start)
    root = recommender.directory / runs.EXPORT
    path = update_users(recommender.directory, day, learning_rate=0.1)  # so that one step says where it goes
    space = manifest.read(root / "1")["embedding_space"]
    (delta,) = user_deltas.read(root, 1, space)
    moved = {int(fingerprints(tf.constant(name))) for name in (users[3], NEW)}
    known = {int(k) for k in fingerprints(tf.constant(users)).numpy()}
    # Events after the training's last one count too: those of its own validation and test.
    assert moved <= set(delta.keys.tolist()) <= known | moved
    assert delta.trained_until == start + 79
    for i, variable in enumerate(recommender.assembly.model.trainable_variables):
        np.testing.assert_array_equal(variable.numpy(), before[str(i)])

    loaded = tf.saved_model.load(str(root / "1"))
    ask = tf.constant([users[3], NEW, users[4]])

    def answers():
        vectors = loaded.signatures["embed_query"](user_id=ask)["embedding"].numpy()
        return vectors, loaded.signatures["score_pairs"](
            user_id=ask, candidate_ids=tf.constant([items] * 3)
        )["scores"].numpy()

    def top():
        filters = {c.EXCLUDE_IDS: tf.zeros([1, 0], tf.string), c.ALLOW_IDS: tf.zeros([1, 0], tf.string)}
        return loaded.signatures["serving_default"](
            user_id=ask, k=tf.constant(3), popularity_beta=tf.constant(0.0), **filters
        )["scores"].numpy()

    vectors, scores = answers()
    served = top()
    count = loaded.signatures["update_user_rows"](keys=tf.constant(delta.keys), rows=tf.constant(delta.rows))["count"]
    assert int(count) == len(delta.keys)
    fresh_vectors, fresh = answers()
    assert np.abs(top() - served)[:2].max(axis=1).min() > 1e-3  # both users' answers moved
    gain = fresh - scores  # what a softmax compares: against the other items
    assert gain[0, 0] > gain[0].mean() + 0.1 and gain[1, 1] > gain[1].mean() + 0.1
    table = dict(zip(delta.keys.tolist(), delta.rows))
    if int(fingerprints(tf.constant(users[4]))) not in table:
        np.testing.assert_array_equal(fresh_vectors[2], vectors[2])
    assert path.name == "000001.npz"


def test_a_second_update_goes_on_from_the_first_and_nothing_new_gives_nothing(run, capsys, caplog):
    recommender, folder = run
    log = recommender.assembly.log
    root, space = recommender.directory / runs.EXPORT, runs.read_config(recommender.directory).embedding_space
    last = user_deltas.read(root, 1, space)[-1]
    items = log.items[c.ITEM_ID].to_pylist()
    day = events(folder, "next.parquet", [NEW] * 5, items[2:7], last.trained_until + 1)
    command = ["update", str(recommender.directory), "--users-only", "--interactions", day.path]
    assert main([*command, "--learning-rate", "1e-6"]) == 0
    first, second = user_deltas.read(root, 1, space)
    key = int(fingerprints(tf.constant(NEW)))
    assert second.keys.tolist() == [key]
    row = first.rows[first.keys.tolist().index(key)]
    assert 0 < np.abs(second.rows[0] - row).max() < 1e-4  # from where the first ended; the recipe's rate is 0.01
    assert main(command) == 0
    until = np.datetime64(second.trained_until, "s")
    assert capsys.readouterr().out.splitlines()[-1] == "Nothing was published."
    assert f"is later than {until} UTC, the time of the newest learned event" in caplog.text


def test_the_events_of_other_users_change_nothing(run, monkeypatch):
    """The update reads the events of its own users alone; on the whole log it gives the same rows."""
    recommender, folder = run
    log, root = recommender.assembly.log, recommender.directory / runs.EXPORT
    space = runs.read_config(recommender.directory).embedding_space
    before = user_deltas.read(root, 1, space)
    start = max([int(log.timestamp[-1]), *(delta.trained_until for delta in before)]) + 1
    users, items = log.users[c.USER_ID].to_pylist(), log.items[c.ITEM_ID].to_pylist()
    day = events(folder, "few.parquet", [users[7], "another", users[2]] * 3, items[3:12], start)
    found = []
    for whole in (False, True):
        if whole:
            monkeypatch.setattr(user_events, "_other_items", lambda recipe: None)
            monkeypatch.setattr(InteractionLog, "of_users", lambda log, users: (log, np.arange(len(log))))
            monkeypatch.setattr(user_update, "of_ids_in", lambda log, schema, states: (states, {
                "query": {"id_user_id": np.arange(1 + len(states["query"]["id_user_id"]["keys"]))}, "candidate": {}}))
        update_users(recommender.directory, day)
        delta = user_deltas.read(root, 1, space)[-1]
        found.append(dict(zip(delta.keys.tolist(), delta.rows)))
        revert_users(recommender.directory)
    assert len(found[0]) == 3
    np.testing.assert_equal(*found)


def test_events_of_items_that_the_version_does_not_know_wait(run, caplog):
    recommender, folder = run
    update_users(recommender.directory)  # of what the training held out, unless another test did
    log, root = recommender.assembly.log, recommender.directory / runs.EXPORT
    space = runs.read_config(recommender.directory).embedding_space
    before = user_deltas.read(root, 1, space)
    start = max([int(log.timestamp[-1]), *(delta.trained_until for delta in before)]) + 1
    (_, three, *_), items = log.users[c.USER_ID].to_pylist(), log.items[c.ITEM_ID].to_pylist()
    assert update_users(recommender.directory, events(folder, "unknown.parquet", [three], ["new film"], start)) is None
    assert "has an item that the version knows" in caplog.text
    update_users(recommender.directory, events(
        folder, "both.parquet", [three, NEW, NEW], ["new film", items[0], "new film"], start))
    (last,) = user_deltas.read(root, 1, space)[len(before):]
    assert last.keys.tolist() == [int(fingerprints(tf.constant(NEW)))] and last.trained_until == start + 2
    revert_users(recommender.directory)


def test_a_running_server_takes_the_rows_in_and_gives_them_back(run):
    recommender, folder = run
    root = recommender.directory / runs.EXPORT
    repository = Repository(root)
    repository.poll()

    def vector(name):
        with repository.lease() as model:
            found = model.signature("embed_query")({c.USER_ID: tf.constant([name])})["embedding"].numpy()[0]
            return found, model.identity, model.root

    before, identity, loaded = vector(NEW)  # the deltas of the tests above are there already
    log = recommender.assembly.log
    until = user_deltas.read(root, 1, runs.read_config(recommender.directory).embedding_space)[-1].trained_until
    items = log.items[c.ITEM_ID].to_pylist()
    update_users(recommender.directory, events(folder, "late.parquet", [NEW] * 30, [items[9]] * 30, until + 1))
    repository.poll()
    after, changed, same = vector(NEW)
    assert same is loaded  # nothing was loaded anew
    assert changed != identity and np.abs(after - before).max() > 1e-3
    revert_users(recommender.directory)
    repository.poll()
    np.testing.assert_array_equal(vector(NEW)[0], before)
    repository.close()


@pytest.mark.parametrize("change", [
    {"schema": Schema(query=(History(length=5),), candidate=(Id(c.ITEM_ID, dim=8),))},
    {"model": dataclasses.replace(toy.recipe().model, query_encoder=SASRec())}, {"ensemble": (Member(MEMBER),)},
])
def test_a_query_tower_without_user_rows_is_refused(run, tmp_path, change):
    config = runs.read_config(run[0].directory)
    runs.write_config(tmp_path, dataclasses.replace(config, recipe=dataclasses.replace(config.recipe, **change)))
    with pytest.raises(ConfigError, match="Id of `user_id`"):
        update_users(tmp_path)


def test_the_newest_can_be_reverted(run):
    root = run[0].directory / runs.EXPORT
    space = runs.read_config(run[0].directory).embedding_space
    count = len(user_deltas.read(root, 1, space))
    assert revert_users(run[0].directory).name == f"{count:06}.npz"
    assert len(user_deltas.read(root, 1, space)) == count - 1


def test_rows_are_signed_if_those_before_them_are(run, tmp_path, capsys):
    recommender, folder = run
    root, space = recommender.directory / runs.EXPORT, runs.read_config(recommender.directory).embedding_space
    (tmp_path / "key").write_text("k" * 32)
    log, key = recommender.assembly.log, Key.read(tmp_path / "key")
    start = int(log.timestamp[-1]) + 1_000
    day = events(folder, "signed.parquet", [NEW] * 5, log.items[c.ITEM_ID].to_pylist()[:5], start)
    command = ["update", str(recommender.directory), "--users-only", "--interactions", day.path, "--sign-key", key.path]
    assert main(command) == 1 and "manifest.json is not signed" in capsys.readouterr().err
    key.sign(root / "1" / "manifest.json")
    if user_deltas.read(root, 1, space):
        assert main(command) == 1 and "000001.json is not signed" in capsys.readouterr().err
    while revert_users(recommender.directory):
        pass
    assert main(command[:-2]) == 1 and "export/1 is signed, and what follows it must be" in capsys.readouterr().err
    assert not user_deltas.read(root, 1, space)
    assert main(command) == 0
    assert len(user_deltas.read(root, 1, space, Seal(key, integrity.identity(root / "1")))) == 1
    revert = ["update", str(recommender.directory), "--revert"]
    for without_key in (revert, command[:-2]):
        assert main(without_key) == 1 and "are signed. Change them with the key" in capsys.readouterr().err
    assert main([*revert, "--sign-key", key.path]) == 0 and user_deltas.read(root, 1, space) == []
