"""A Keras layer of one's own as a feature: what it reads, what it may be, and that a training gets a copy."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import Id, Preprocessed, Schema, build_fields, with_layers_in
from tfrs_twotower.pipeline.learned_fields import read_fields, write_fields

layers = tf.keras.layers
TABLE = {
    "title": pa.array(["red shoe", "blue shoe", None]), "price": pa.array([1.0, 3.0, None]),
    "year": pa.array([1999, None, 2001]), "tags": pa.array([["a", "b"], [], None], pa.list_(pa.string())),
}


def field(inputs, layer, **settings):
    """A candidate's field, adapted to `TABLE`."""
    made = Preprocessed(inputs, layer, **settings).build(0)
    made.adapt({name: TABLE[name] for name in made.columns}, np.ones(3, np.int64))
    return made


def embedding(values=((0.0, 0.0), (1.0, 2.0), (3.0, 4.0))):
    """Text → a row of `values`: that of "blue shoe" is the last."""
    rows = layers.Embedding(3, 2, embeddings_initializer=tf.keras.initializers.Constant(np.array(values)))
    return tf.keras.Sequential([layers.StringLookup(vocabulary=["red shoe", "blue shoe"]), rows])


def test_a_layer_without_trainable_weights_runs_before_training():
    words = layers.TextVectorization(output_mode="multi_hot")
    words.adapt(["red shoe", "blue shoe"])  # shoe, red, blue: by number, then the last letter first
    made = field("title", words)
    encoded = made.encode({"title": tf.constant(["shoe shoe", "green", ""])})
    assert encoded["value"].numpy().tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert made(encoded).numpy().tolist() == encoded["value"].numpy().tolist()


def test_a_model_with_trainable_weights_reads_raw_columns_in_training():
    made = field("title", embedding())
    assert made.inputs() == {"title": tf.TensorSpec([None], tf.string)}
    encoded = made.encode({"title": tf.constant(["blue shoe", "new"])})
    assert encoded["title"].dtype == tf.string
    assert made(encoded).numpy().tolist() == [[3, 4], [0, 0]]
    assert [w.shape.as_list() for w in made.trainable_weights] == [[3, 2]]


def test_several_columns_come_as_a_dictionary_of_their_types():
    seen = {}

    @tf.keras.saving.register_keras_serializable("test_preprocessed")
    class Looks(layers.Layer):
        def call(self, raw):
            seen.update(raw)
            return raw["price"][:, tf.newaxis] + tf.cast(raw["year"], tf.float32)[:, tf.newaxis]

    made = field(("price", "year", "title", "tags"), Looks())
    assert {name: (value.dtype.name, value.shape.rank) for name, value in seen.items()} == {
        "price": ("float32", 1), "year": ("int64", 1), "title": ("string", 1), "tags": ("string", 2),
    }
    raw = {"price": tf.constant([1.5]), "year": tf.constant([3], tf.int64), "title": tf.constant(["x"]),
           "tags": tf.constant([["a", ""]])}
    assert made(made.encode(raw)).numpy().tolist() == [[4.5]]


def test_a_training_has_a_copy_of_the_weights_it_was_given():
    own = embedding()
    own(tf.constant(["red shoe"]))
    own.layers[1].embeddings.assign([[9.0, 9.0], [8.0, 8.0], [7.0, 7.0]])
    made = field("title", own)
    made.trainable_weights[0].assign_add(tf.ones([3, 2]))
    assert made({"title": tf.constant(["red shoe"])}).numpy().tolist() == [[9, 9]]
    assert own(tf.constant(["red shoe"])).numpy().tolist() == [[8, 8]]


def test_what_was_adapted_is_in_the_file_and_the_feature_names_the_file(tmp_path):
    years = layers.IntegerLookup(output_mode="one_hot")
    years.adapt(tf.data.Dataset.from_tensor_slices([1999, 1999, 2001]))
    schema = Schema(query=(Id("user_id"),), candidate=(Preprocessed("year", years), Id("item_id")))
    kept = with_layers_in(tmp_path, schema)
    assert kept.candidate[0].layer == str(tmp_path / "candidate_preprocessed_year.keras")
    assert with_layers_in(tmp_path, kept) == kept
    other = with_layers_in(tmp_path / "copy", kept)  # as an update does with its parent's
    made = build_fields(other)[1][0]
    made.adapt({"year": TABLE["year"]}, np.ones(3))
    assert made.encode({"year": tf.constant([2001, 5], tf.int64)})["value"].numpy().tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_past_has_its_newest_events_and_one_width():
    @tf.keras.saving.register_keras_serializable("test_preprocessed")
    class Joins(layers.Layer):
        def call(self, raw):
            both = tf.strings.join([raw["history_item_id"], tf.strings.as_string(raw["history_timestamp"])], ":")
            return tf.cast(tf.strings.to_hash_bucket_fast(both, 1000), tf.float32)

    made = Preprocessed(("history_item_id", "history_timestamp"), Joins(), length=2).build(0)
    made.adapt({"history_item_id": pa.array(["a"])}, np.ones(1))
    raw = {"history_item_id": tf.constant([["a", "b", "", "c"], ["a", "", "", ""], [""] * 4]),
           "history_timestamp": tf.constant([[1, 2, 0, 3], [4, 0, 0, 0], [0] * 4], tf.int64)}
    expected = tf.strings.to_hash_bucket_fast([["b:2", "c:3"], ["a:4", ":-1"], [":-1", ":-1"]], 1000)
    assert made.encode(raw)["value"].numpy().tolist() == expected.numpy().tolist()
    empty = {name: values[:1, :0] for name, values in raw.items()}
    assert made.encode(empty)["value"].numpy().tolist() == expected[2:].numpy().tolist()


def test_its_state_is_the_types_of_its_columns():
    made, other = field(("title", "tags"), Both()), Preprocessed(("title", "tags"), Both()).build(0)
    other.load_state(made.state())
    assert other.inputs() == made.inputs() == {
        "title": tf.TensorSpec([None], tf.string), "tags": tf.TensorSpec([None, None], tf.string),
    }


@tf.keras.saving.register_keras_serializable("test_preprocessed")
class Both(layers.Layer):
    """The lengths of both texts."""

    def call(self, raw):
        lengths = tf.concat([raw["title"][:, tf.newaxis], raw["tags"]], axis=1)
        return tf.cast(tf.reduce_sum(tf.strings.length(lengths), axis=1, keepdims=True), tf.float32)


@pytest.mark.parametrize(("inputs", "layer", "message"), [
    ("title", layers.StringLookup(vocabulary=["a"]), "vector of floats.*int64.*an Embedding"),
    ("price", layers.StringLookup(vocabulary=["a"]), "cannot be called with price: float32"),
    (("title", "price"), layers.Dense(3), "cannot be called with title: string, price: float32"),
])
def test_what_a_layer_cannot_be_is_said(inputs, layer, message):
    with pytest.raises(ConfigError, match=f"(?s)`preprocessed_.*{message}"):
        field(inputs, layer)


@pytest.mark.parametrize(("settings", "message"), [
    (((), layers.Dense(3)), "Preprocessed.inputs.*a column or more"),
    (("title", len), "Preprocessed.layer.*a Keras layer or model"),
    (("title", layers.StringLookup), "Preprocessed.layer.*a Keras layer or model"),
    (("title", 3), "Preprocessed.layer.*a Keras layer or model"),
    (("title", "model.h5"), "Preprocessed.layer.*.keras file"),
    (("title", layers.Dense(3), 0), "Preprocessed.length.*at least 1"),
    (("history_timestamp", layers.Dense(3)), "Preprocessed.inputs.*also name history_item_id"),
])
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        Preprocessed(*settings)


def test_a_file_that_is_missing_or_of_an_unknown_class(tmp_path):
    with pytest.raises(ConfigError, match="There is no file .*nowhere.keras"):
        Preprocessed("title", str(tmp_path / "nowhere.keras")).build(0)

    class Unheard(layers.Layer):
        def call(self, x):
            return x

    with pytest.raises(ConfigError, match="cannot be read.*--import.*register_keras_serializable"):
        Preprocessed("title", Unheard()).build(0)
    with pytest.raises(ConfigError, match="holds a Lambda layer.*Write a Layer class"):
        Preprocessed("title", layers.Lambda(lambda x: x)).build(0)


def test_a_run_misses_the_file_that_it_had(tmp_path):
    schema = Schema(query=(Id("user_id"),), candidate=(Preprocessed("title", embedding()), Id("item_id")))
    kept = with_layers_in(tmp_path / "run", schema)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert Path(with_layers_in(tmp_path / "moved", kept, write=False).candidate[0].layer).parent.name == "moved"
    with pytest.raises(ConfigError, match="There is no file .*preprocessed_title.keras.*Copy it back"):
        with_layers_in(tmp_path / "other", kept, write=False)


def test_a_class_that_keras_cannot_describe():
    class NoConfig(layers.Layer):
        def __init__(self, table):
            super().__init__()
            self.table = table

    with pytest.raises(ConfigError, match="cannot be written.*get_config"):
        Preprocessed("title", NoConfig({"a": object()})).build(0)


def test_another_layer_for_the_same_run_is_written_in_its_place(tmp_path):
    """A first try that failed, in a folder that is named, leaves its file."""
    def kept(vocabulary):
        layer = layers.StringLookup(vocabulary=vocabulary, output_mode="one_hot")
        schema = Schema(query=(Id("user_id"),), candidate=(Preprocessed("title", layer), Id("item_id")))
        return Preprocessed("title", with_layers_in(tmp_path, schema).candidate[0].layer).build(0)

    assert len(kept(["a"]).layer.get_vocabulary()) == 2
    assert kept(["b", "c"]).layer.get_vocabulary() == ["[UNK]", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["candidate_preprocessed_title.keras"]


def test_a_columns_own_name_survives_a_file_of_states(tmp_path):
    made = Preprocessed("price/eur", layers.Rescaling(2.0)).build(0)
    with pytest.raises(ConfigError, match=r"vector of floats.*Reshape\(\(1,\)\)"):
        made.adapt({"price/eur": TABLE["price"]}, np.ones(3))
    made = Preprocessed("price/eur", tf.keras.Sequential([layers.Rescaling(2.0), layers.Reshape((1,))])).build(0)
    made.adapt({"price/eur": TABLE["price"]}, np.ones(3))
    model = SimpleNamespace(query_tower=SimpleNamespace(state=dict),
                            candidate_tower=SimpleNamespace(state=lambda: {made.name: made.state()}))
    write_fields(tmp_path, (model.query_tower, model.candidate_tower))
    other = Preprocessed("price/eur", tf.keras.Sequential([layers.Rescaling(2.0), layers.Reshape((1,))])).build(0)
    other.load_state(read_fields(tmp_path)["candidate"][made.name])
    assert other.inputs() == made.inputs()


def test_low_precision_does_not_round_raw_numbers():
    policy = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        layer = layers.Dense(1, kernel_initializer="ones", dtype="float32")
        made = Preprocessed("price", tf.keras.Sequential([layers.Reshape((1,), dtype="float32"), layer])).build(0)
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)
    made.adapt({"price": TABLE["price"]}, np.ones(3))
    assert made({"price": tf.constant([1_234_567.0])}).numpy().tolist() == [[1_234_567.0]]


def test_a_subclassed_model_that_was_called_before_is_refused_with_the_way_out():
    """Keras builds it from the shapes of its inputs alone, as if all were floats."""
    @tf.keras.saving.register_keras_serializable("test_preprocessed")
    class Called(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.vector = embedding()

        def call(self, raw):
            return self.vector(raw["title"])

        def get_config(self):
            return {}

    model, raw = Called(), {"title": tf.constant(["red shoe", "blue shoe"]), "year": tf.constant([1, 2], tf.int64)}
    assert field(("title", "year"), model).trainable_weights
    model(raw)
    with pytest.raises(ConfigError, match="called before.*pass a new one"):
        field(("title", "year"), model)
