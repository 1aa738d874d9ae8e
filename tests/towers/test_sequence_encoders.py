"""Sequence encoders: causal, one state for each event, and the published formulas."""

import numpy as np
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import SequenceEmbedding
from tfrs_twotower.towers import HSTU, GRU4Rec, SASRec, SearchThenAttend, build_encoder
from tfrs_twotower.towers.relative_bias import RelativeBias, _lookup, time_buckets
from tfrs_twotower.towers.sequence import log_bucket

import tensorflow as tf  # isort: skip

ENCODERS = (
    GRU4Rec(units=(4,)), SASRec(heads=2, length=5), HSTU(heads=2, width=3, length=5),
    SearchThenAttend(SASRec(blocks=1, heads=1, length=2), recent=2, found=2),
)
each = pytest.mark.parametrize("settings", ENCODERS, ids=lambda s: type(s).__name__)


def sequence(seed=0, lengths=(5, 3, 0)):
    rng = np.random.default_rng(seed)
    valid = np.arange(5) < np.array(lengths)[:, None]
    age = np.sort(rng.integers(1, 10**6, [len(lengths), 5]))[:, ::-1] * valid
    asked = np.concatenate([age[:, 1:], np.zeros([len(lengths), 1], int)], axis=1)
    values = rng.normal(size=[len(lengths), 5, 4]) * valid[..., None]
    return SequenceEmbedding(tf.constant(values, tf.float32), tf.constant(valid), *(
        tf.constant(a.copy(), tf.int32) for a in (age, asked)
    ))


def built(settings, scale=0.3):
    """The encoder with weights that are all in play: biases start at 0."""
    encoder = build_encoder(settings, seed=2)
    encoder([sequence()])
    rng = np.random.default_rng(1)
    for weight in encoder.trainable_weights:
        weight.assign(weight + scale * rng.normal(size=weight.shape))
    return encoder


@each
def test_a_state_depends_on_no_later_event(settings):
    encoder, before = built(settings), sequence()
    values, age, asked = (np.array(a) for a in (before.values, before.age, before.asked))
    values[0, 3:] += 1.0
    age[0, 3:], asked[0, 3:] = [7, 3], [3, 1]
    after = before._replace(values=tf.constant(values), age=tf.constant(age), asked=tf.constant(asked))
    found, changed = encoder.sequence(before).numpy(), encoder.sequence(after).numpy()
    np.testing.assert_allclose(changed[0, :3], found[0, :3], atol=1e-6)
    assert (np.abs(changed[0, 3:] - found[0, 3:]).max(axis=1) > 1e-3).all()


@each
def test_a_request_gets_the_state_after_its_last_event_beside_the_other_fields(settings):
    """Without an event it gets the start state; in training, as many of these follow the events as are asked for."""
    encoder, given = built(settings), sequence()
    profile = tf.constant([[1.0], [2.0], [3.0]])
    states, last = encoder.sequence(given).numpy(), encoder([profile, given]).numpy()
    np.testing.assert_allclose(last[0], [*states[0, 4], 1], atol=1e-6)
    np.testing.assert_allclose(last[1], [*states[1, 2], 2], atol=1e-6)
    start = encoder._start._state.numpy()
    np.testing.assert_array_equal(last[2], [*start[0], 3])
    every = encoder.at_positions([given, tf.range(10.0)[:, tf.newaxis]], starts=2).numpy()
    np.testing.assert_allclose(every[:, :-1], np.concatenate([states[0], states[1, :3], start, start]), atol=1e-6)
    np.testing.assert_array_equal(every[:, -1], np.arange(10))


@each
def test_padding_changes_nothing(settings):
    encoder, given = built(settings), sequence(lengths=(3,))
    cut = SequenceEmbedding(*(a[:, :3] for a in given))
    np.testing.assert_allclose(encoder([given]), encoder([cut]), atol=1e-5)


@each
def test_the_time_of_the_request_is_told(settings):
    encoder, given = built(settings), sequence(lengths=(5,))
    wait = 10_000_000
    later = given._replace(age=given.age + wait, asked=tf.concat([given.asked[:, :4] + wait, [[0]]], axis=1))
    assert np.abs((encoder([later]) - encoder([given])).numpy()).max() > 1e-3


def test_buckets_grow_by_the_root_of_two():
    seconds = tf.constant([-5, 0, 1, 2, 3, 7, 2**31 - 1], tf.int32)
    assert log_bucket(seconds).numpy().tolist() == [0, 0, 2, 3, 4, 6, 61]


def test_bias_is_one_number_for_the_places_and_one_for_the_time_between():
    bias = RelativeBias(heads=2, distances=2, time=True)
    position, time = bias.trainable_weights
    position.assign([[1.0, 2.0], [10.0, 20.0]])
    time.assign(np.stack([np.arange(64) / 100, np.zeros(64)]))
    given = SequenceEmbedding(None, None, tf.constant([[7, 3, 0]]), tf.constant([[3, 0, 0]]))
    buckets = time_buckets(given)
    assert buckets.numpy()[0, [0, 1, 1, 2], [0, 0, 1, 0]].tolist() == [4, 6, 4, 6]  # of 4, 7, 3 and 7 seconds
    found = bias(3, buckets).numpy()
    assert found.shape == (1, 2, 3, 3)
    np.testing.assert_allclose(found[0, 0][[0, 1, 1, 2], [0, 0, 1, 0]], [1.04, 2.06, 1.04, 2.06], atol=1e-6)
    np.testing.assert_allclose(found[0, 1][[0, 1, 2], [0, 0, 0]], [10, 20, 20], atol=1e-6)


def test_the_gradient_of_a_bias_is_tensorflows():
    table, index = tf.random.normal([5]), tf.constant([[[0, 4], [4, 1]], [[2, 2], [0, 4]]])
    upstream = tf.random.normal([2, 2, 2])
    found = []
    for lookup in (_lookup, tf.gather):
        with tf.GradientTape() as tape:
            tape.watch(table)
            total = tf.reduce_sum(lookup(table, index) * upstream)
        found.append(tf.convert_to_tensor(tape.gradient(total, table)))
    np.testing.assert_allclose(*found, atol=1e-6)


def _norm(x, layer):
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return scaled * layer.gamma.numpy() + layer.beta.numpy()


def test_a_block_of_hstu_is_the_formula():
    encoder = built(HSTU(blocks=1, heads=1, width=3, length=5))
    block, x = encoder._blocks[0], tf.random.normal([1, 5, 4], seed=3)
    buckets = time_buckets(sequence(lengths=(5,)))

    def silu(a):
        return a / (1 + np.exp(-a))

    u, v, q, k = np.split(silu(_norm(x[0].numpy(), block._norm) @ block._split.kernel.numpy()), 4, axis=1)
    scores = silu(q @ k.T + block._bias(5, buckets)[0, 0].numpy()) * np.tril(np.ones([5, 5])) / 5
    gated = _norm(scores @ v, block._norm_attended) * u
    expected = x[0].numpy() + gated @ block._join.kernel.numpy() + block._join.bias.numpy()
    np.testing.assert_allclose(block(x, buckets)[0], expected, atol=1e-4)


def test_attention_of_sasrec_is_a_causal_softmax():
    encoder = built(SASRec(blocks=1, heads=2, length=5))
    block, x = encoder._blocks[0], tf.random.normal([1, 5, 4], seed=3)
    buckets = time_buckets(sequence(lengths=(5,)))
    q, k, v = np.split(block._split(block._norm(x))[0].numpy(), 3, axis=1)
    expected, attended = [], []
    for head in range(2):
        mine = slice(2 * head, 2 * head + 2)
        scores = q[:, mine] @ k[:, mine].T / np.sqrt(2) + block._bias(5, buckets)[0, head].numpy()
        weights = np.exp(scores) * np.tril(np.ones([5, 5]))
        expected.append(weights / weights.sum(axis=1, keepdims=True))
        attended.append(expected[-1] @ v[:, mine])
    np.testing.assert_allclose(block.attention(x, buckets)[0], expected, atol=1e-5)
    np.testing.assert_allclose(block._attend(x, buckets)[0], np.concatenate(attended, axis=1), atol=1e-5)


def test_attention_of_sasrec_can_be_looked_at():
    encoder, given = built(SASRec(blocks=2, heads=2, length=5)), sequence(lengths=(5, 3))
    first, second = encoder.attention(given)
    assert first.shape == second.shape == (2, 2, 5, 5)
    states, buckets = encoder._tokens(given), time_buckets(given)
    np.testing.assert_array_equal(first, encoder._blocks[0].attention(states, buckets))
    np.testing.assert_array_equal(second, encoder._blocks[1].attention(encoder._blocks[0](states, buckets), buckets))


def test_older_events_are_searched_and_the_best_ones_weighed():
    encoder = built(SearchThenAttend(GRU4Rec(units=(4,)), recent=2, found=2))
    given = sequence(lengths=(5,))
    found = encoder.sequence(given)[0].numpy()
    states, values = found[:, :4], given.values[0].numpy()
    np.testing.assert_array_equal(found[:2, 4:], np.zeros([2, 4]))  # nothing is older than the newest 2
    for place, older in ((2, 1), (3, 2), (4, 3)):
        scores = values[:older] @ (states[place] @ encoder._search._looks_for.kernel.numpy()) / 2
        best = np.argsort(-scores)[:2]
        weights = np.exp(scores[best]) / np.exp(scores[best]).sum()
        np.testing.assert_allclose(found[place, 4:], weights @ values[best], atol=1e-5)


def long_sequence(length, seed=0):
    rng = np.random.default_rng(seed)
    age = np.sort(rng.integers(1, 10**6, [1, length]))[:, ::-1].copy()
    asked = np.concatenate([age[:, 1:], [[0]]], axis=1)
    values = tf.constant(rng.normal(size=[1, length, 4]), tf.float32)
    return SequenceEmbedding(values, tf.ones([1, length], tf.bool), *(tf.constant(a, tf.int32) for a in (age, asked)))


def cut(sequence, first, last):
    return SequenceEmbedding(*(part[:, first: last + 1] for part in sequence))


@pytest.mark.parametrize("encoder", [SASRec(blocks=2, heads=1, length=50), HSTU(blocks=2), GRU4Rec(units=(4,))])
def test_the_newest_events_are_read_whatever_the_length(encoder):
    """By (length mod 20), the past of 21 events would be read as its last one alone."""
    encoder, given = built(SearchThenAttend(encoder, recent=20, found=3)), long_sequence(45)
    size = encoder([cut(given, 0, 9)]).shape[1] - 4  # beside it are the older events' vectors
    for last in (18, 19, 20, 40):
        newest = cut(given, max(last - 19, 0), last)
        expected = encoder._encoder.sequence(newest)[0, -1]
        np.testing.assert_allclose(encoder([cut(given, 0, last)])[0, :size], expected, atol=1e-5)


def test_training_at_a_place_and_a_request_cut_there_agree():
    encoder, given = built(SearchThenAttend(SASRec(blocks=2, heads=1), recent=7, found=3)), long_sequence(310)
    states = encoder.sequence(given)[0].numpy()
    np.testing.assert_allclose(encoder.at_positions([given]), states, atol=1e-5)
    for place in (0, 6, 7, 8, 40, 158, 159, 309):
        np.testing.assert_allclose(encoder([cut(given, 0, place)])[0], states[place], atol=1e-5)
    # Nothing depends on where a window begins but what it leaves out: here 5 events that nothing looks for.
    away = given._replace(values=tf.concat([tf.zeros([1, 5, 4]), given.values[:, 5:]], axis=1))
    np.testing.assert_allclose(encoder([cut(away, 5, 309)]), encoder([away]), atol=1e-5)


def test_of_a_long_past_the_best_blocks_are_searched():
    """One block of 16 events, 400 events ago, is what is looked for."""
    encoder = built(SearchThenAttend(GRU4Rec(units=(4,)), recent=10, found=5))
    given = long_sequence(600)
    state = encoder.sequence(cut(given, 590, 599))[0, -1, :4].numpy()
    looks_for = state @ encoder._search._looks_for.kernel.numpy()
    wanted = 5 * looks_for / np.linalg.norm(looks_for)
    values = given.values.numpy()
    values[0, 190:206] = wanted
    found = encoder([given._replace(values=tf.constant(values))])[0, 4:]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_the_search_is_cheaper_than_every_event_with_every_event():
    length = 4096
    encoder = built(SearchThenAttend(GRU4Rec(units=(4,)), recent=10, found=5))
    row, place = tf.zeros([length], tf.int32), tf.range(length)
    search = tf.function(lambda values, states: encoder._search(values, states, row, place), autograph=False)
    graph = search.get_concrete_function(tf.TensorSpec([1, length, 4]), tf.TensorSpec([length, 4])).graph
    assert not [op for op in graph.get_operations() for out in op.outputs if list(out.shape).count(length) > 1]


@pytest.mark.parametrize("make, message", [
    (lambda: GRU4Rec(units=()), "GRU4Rec.units"), (lambda: GRU4Rec(dropout=1.0), "GRU4Rec.dropout"),
    (lambda: SASRec(blocks=0), "SASRec.blocks"), (lambda: SASRec(dropout=-0.1), "SASRec.dropout"),
    (lambda: HSTU(width=0), "HSTU.width"), (lambda: HSTU(dropout=1.5), "HSTU.dropout"),
    (lambda: SearchThenAttend(found=0), "SearchThenAttend.found"),
    (lambda: build_encoder(SASRec(heads=3))([sequence()]), "SASRec.heads"),
    (lambda: build_encoder(HSTU())([tf.zeros([2, 3])]), "one Sequence among the query's features"),
])
def test_settings_are_checked(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
