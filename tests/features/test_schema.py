"""A schema is checked when it is made and against the columns that there are."""

import json

import pytest
import tensorflow as tf

from tfrs_twotower.columns import safe
from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import (
    Category,
    Cross,
    History,
    Id,
    MultiValue,
    Number,
    Schema,
    Text,
    Time,
    Vector,
    build_fields,
)

SCHEMA = Schema(
    query=(Id("user_id"), Time("timestamp"), History(), Cross(("gender", "age"))),
    candidate=(Id("item_id"), Text("title", "trigrams"), MultiValue("genres"), Number("price"), Vector("v")),
)
QUERY_COLUMNS = ("user_id", "gender", "age")
CANDIDATE_COLUMNS = ("item_id", "title", "genres", "price", "v")


def test_a_schema_survives_json():
    assert from_dict(json.loads(json.dumps(to_dict(SCHEMA)))) == SCHEMA


def test_columns_that_exist_pass():
    SCHEMA.validate(QUERY_COLUMNS, CANDIDATE_COLUMNS)


def test_a_wrong_column_gives_the_nearest():
    with pytest.raises(ConfigError, match="normalise_price.*candidate.*`price`.*Did you mean `prices`"):
        SCHEMA.validate(QUERY_COLUMNS, ("item_id", "title", "genres", "prices", "v"))
    with pytest.raises(ConfigError, match="cross_gender_x_age.*query.*`age`"):
        SCHEMA.validate(("user_id", "gender"), CANDIDATE_COLUMNS)


def test_a_trained_vector_reads_the_id_too():
    schema = Schema(query=(Id("user_id"),), candidate=(Vector("v", trainable=True),))
    with pytest.raises(ConfigError, match="`item_id`"):
        schema.validate(("user_id",), ("v",))


@pytest.mark.parametrize("make, message", [
    (lambda: Id("a", dim=0), "Id.dim.*at least 1.*dim=0"),
    (lambda: Id("a", dropout=1.0), "Id.dropout.*at least 0 and below 1"),
    (lambda: Id("a", buckets=-1), "Id.buckets"),
    (lambda: Id("a", buckets=5, min_count=2), "min_count"),
    (lambda: Number("a", transform="normalize"), "Did you mean `normalise`"),
    (lambda: Time("a", parts=("weekdays",)), "Did you mean `weekday`"),
    (lambda: Time("a", parts=()), "Time.parts"),
    (lambda: Cross(("a",)), "Cross.columns"),
    (lambda: Text("a", analyser="trigram"), "Did you mean `trigrams`"),
    (lambda: MultiValue("a", pooling="max"), "MultiValue.pooling"),
    (lambda: History(half_life_days=0.0), "half_life_days"),
    (lambda: History(cut=1.1), "History.cut.*at least 0 and at most 1"),
    (lambda: History(dropout=1.0), "History.dropout.*at least 0 and below 1"),
    (lambda: Schema(query=(), candidate=(Id("item_id"),)), "Schema.query"),
    (lambda: Schema(query=(Id("a"), Id("a", dim=4)), candidate=(Id("b"),)), "two features called `id_a`"),
    (lambda: Schema(query=(History(),), candidate=(Category("brand"),)), "Add Id"),
    (lambda: Schema(query=(Id("a"),), candidate=(Id("item_id"), History())), "candidate.*History"),
])
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_one_field_a_feature_in_order_and_one_item_table():
    query, candidate = build_fields(SCHEMA)
    assert [f.name for f in query] == [f.name for f in SCHEMA.query]
    assert [f.name for f in candidate] == [f.name for f in SCHEMA.candidate]
    assert query[2].items is candidate[0]


@pytest.mark.parametrize("column, name", [
    ("price", "price"), ("a-b.c_1", "au002dbu002ec_1"), ("Product Type", "Product_Type"), ("Größe", "Gru00f6u00dfe"),
    ("价格", "u4ef7u683c"), ("a[1]", "au005b1u005d"), ("100%", "x100u0025"), ("class", "xclass"),
    ("_id", "x_id"), ("k", "xk"), ("", "x"),
])
def test_a_column_of_any_name_has_a_safe_one(column, name):
    assert safe(column) == name and Category(column).name == f"category_{name}"
    assert tf.keras.layers.Layer(name=name).name == name
    with tf.name_scope(name):
        pass


def test_two_columns_of_one_safe_name_are_refused():
    with pytest.raises(ConfigError, match="reads `a_b` and `a b`, both of which TensorFlow would know as `a_b`"):
        Schema(query=(Id("user_id"),), candidate=(Category("a_b"), Number("a b")))
