"""The retrieval task: values by hand, masks, drop-in use, and what it converges to."""

import math
import zipfile

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.losses import FullSoftmax, TripletHinge
from tfrs_twotower.models import LearnedTemperature, Retrieval
from tfrs_twotower.sampling import NoCorrection, StaticCorrection, StreamingCorrection
from tfrs_twotower.training.optimizers import LazyAdam

QUERIES = tf.constant([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
CANDIDATES = tf.constant([[1.0, 0.0], [0.5, 1.0], [0.0, 2.0]])
SCORES = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 2.0], [1.0, 1.5, 2.0]])


def softmax_loss(scores, positives=None, kept=None):
    """Mean −log softmax at the positive, in float64."""
    weights = np.exp(scores) * (1.0 if kept is None else np.asarray(kept))
    positives = np.arange(len(scores)) if positives is None else positives
    return float(np.mean(-np.log(weights[np.arange(len(scores)), positives] / weights.sum(axis=1))))


def mean_task(**settings):
    """The task as the package's own models have it."""
    return Retrieval(**{"reduction": "mean", "remove_accidental_hits": True, **settings})


def test_two_by_two_by_hand():
    task = mean_task(temperature=0.5, remove_accidental_hits=False)
    loss = task(tf.constant([[1.0, 0.0], [0.0, 1.0]]), tf.constant([[1.0, 0.0], [1.0, 1.0]]))
    # Scores / 0.5: [[2, 2], [0, 2]].
    assert float(loss) == pytest.approx((math.log(2) + math.log(1 + math.exp(-2))) / 2, abs=1e-6)


def test_the_correction_is_not_divided_by_the_temperature():
    counts = np.array([1, 3, 5])  # p = 2/12, 4/12, 6/12
    task = mean_task(temperature=0.1, logq=StaticCorrection(counts), remove_accidental_hits=False)
    loss = task(QUERIES, CANDIDATES, candidate_ids=tf.constant([0, 1, 2]))
    expected = softmax_loss(SCORES / 0.1 - np.log(3 * np.array([2, 4, 6]) / 12))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_no_floor_under_a_probability():
    task = mean_task(temperature=1.0, remove_accidental_hits=False)
    probability = np.array([0.5, 1e-7, 1e-9])
    loss = task(QUERIES, CANDIDATES, None, tf.constant(probability, tf.float32))
    assert float(loss) == pytest.approx(softmax_loss(SCORES - np.log(probability)), rel=1e-5)


def test_a_probability_of_zero_is_an_error():
    task = mean_task(remove_accidental_hits=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="above 0"):
        task(QUERIES, CANDIDATES, candidate_sampling_probability=tf.constant([0.5, 0.5, 0.0]))


@pytest.mark.parametrize("ids", [[4, 9, 4], ["a", "b", "a"]])
def test_accidental_hits_are_left_out(ids):
    loss = mean_task(temperature=1.0)(QUERIES, CANDIDATES, candidate_ids=tf.constant(ids))
    kept = [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
    assert float(loss) == pytest.approx(softmax_loss(SCORES, kept=kept), rel=1e-5)


def test_known_positives_and_score_mask_leave_the_own_positive():
    task = mean_task(temperature=1.0)
    loss = task(
        QUERIES,
        CANDIDATES,
        candidate_ids=tf.constant([4, 5, 6]),
        score_mask=tf.constant([[True, True, True], [False, False, True], [True, True, True]]),
        known_positives=tf.constant([[6, 4], [-1, -1], [6, -1]]),
    )
    kept = [[1, 1, 0], [0, 1, 1], [1, 1, 1]]
    assert float(loss) == pytest.approx(softmax_loss(SCORES, kept=kept), rel=1e-5)


def test_extra_candidates_and_weights():
    task = mean_task(temperature=1.0)
    loss = task(QUERIES[:2], CANDIDATES, tf.constant([2.0, 1.0]), candidate_ids=tf.constant([1, 2, 1]))
    first = softmax_loss(SCORES[:1], kept=[[1, 1, 0]])
    second = softmax_loss(SCORES[1:2], positives=[1])
    assert float(loss) == pytest.approx((2 * first + second) / 3, rel=1e-5)


def test_the_best_interest_counts():
    interests = tf.stack([QUERIES, tf.reverse(QUERIES, axis=[1])], axis=1)  # [3, 2, 2]
    loss = mean_task(temperature=1.0, remove_accidental_hits=False)(interests, CANDIDATES)
    other = np.array([[0.0, 1.0, 2.0], [1.0, 0.5, 0.0], [1.0, 1.5, 2.0]])
    assert float(loss) == pytest.approx(softmax_loss(np.maximum(SCORES, other)), rel=1e-5)


def test_a_learned_temperature_is_a_weight_of_the_task():
    task = mean_task(temperature=LearnedTemperature(0.1), remove_accidental_hits=False)
    with tf.GradientTape() as tape:
        loss = task(QUERIES, CANDIDATES)
    (weight,) = task.trainable_weights
    assert float(loss) == pytest.approx(softmax_loss(SCORES / 0.1), rel=1e-5)
    assert float(tape.gradient(loss, weight)) != 0


def test_low_precision_towers_are_scored_in_float32():
    policy = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        task = mean_task(temperature=1.0, remove_accidental_hits=False)
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)
    queries = QUERIES * 1.001  # bfloat16 would round this away
    loss = task(queries, CANDIDATES)
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(softmax_loss(SCORES * 1.001), rel=1e-6)


def test_what_is_missing_is_named():
    with pytest.raises(ConfigError, match="candidate_ids.*remove_accidental_hits"):
        mean_task()(QUERIES, CANDIDATES)
    with pytest.raises(ConfigError, match="candidate_ids.*logq"):
        mean_task(logq=NoCorrection(), remove_accidental_hits=False)(QUERIES, CANDIDATES)
    with pytest.raises(ConfigError, match="candidate_ids.*own_embeddings"):
        Retrieval()(QUERIES, CANDIDATES, own_embeddings=tf.ones([3, 1, 2]), own_ids=tf.constant([[1], [2], [3]]))
    with pytest.raises(ConfigError, match="both correct"):
        mean_task(logq=NoCorrection())(QUERIES, CANDIDATES, None, tf.ones([3]), tf.range(3))


class Model(tfrs.Model):
    """A TFRS user's own model: two tables and a task."""

    def __init__(self, task, items=20, users=30, dim=4):
        super().__init__()
        self.users = tf.keras.layers.Embedding(users, dim)
        self.items = tf.keras.layers.Embedding(items, dim)
        self.task = task

    def compute_loss(self, features, training=False):
        return self.task(
            self.users(features["user"]), self.items(features["item"]),
            candidate_ids=features["id"], training=training,
        )


@pytest.mark.parametrize("string_ids", [False, True])
def test_drop_in_for_a_tfrs_model_with_metrics(string_ids):
    rng = np.random.default_rng(0)
    items = rng.integers(0, 20, 600)
    names = np.array([f"item {i}" for i in range(20)]) if string_ids else np.arange(20)
    data = tf.data.Dataset.from_tensor_slices(
        {"user": items % 30, "item": items, "id": names[items]}  # user i likes item i
    ).batch(100)
    model = Model(mean_task(temperature=0.2, logq=StreamingCorrection(buckets=1009, hashes=2)))
    candidates = tf.data.Dataset.from_tensor_slices(names).batch(20)
    vectors = tf.data.Dataset.range(20).batch(20).map(lambda i: model.items(i))
    top_k = tfrs.metrics.FactorizedTopK(tf.data.Dataset.zip((candidates, vectors)), ks=[1])
    model.task.factorized_metrics = [top_k]
    model.compile(LazyAdam(0.2))
    history = model.fit(data, epochs=4, verbose=0).history
    assert history["factorized_top_k/top_1_categorical_accuracy"][-1] > 0.95  # by chance: 0.05
    assert int(model.task.logq.weights[0]) == 4 * 600  # the examples it has seen


def test_batch_metrics_see_corrected_and_masked_scores():
    metric = tf.keras.metrics.TopKCategoricalAccuracy(k=1)
    task = mean_task(temperature=1.0, batch_metrics=[metric])
    task(QUERIES, CANDIDATES, candidate_ids=tf.constant([1, 2, 3]))
    assert float(metric.result()) == pytest.approx(2 / 3)  # row 1's best is candidate 2
    metric.reset_state()
    task(QUERIES, CANDIDATES, candidate_ids=tf.constant([1, 2, 2]))
    assert float(metric.result()) == pytest.approx(1)
    metric.reset_state()
    task(QUERIES, CANDIDATES, candidate_ids=tf.constant([1, 2, 3]), compute_batch_metrics=False)
    assert float(metric.result()) == 0


def planted():
    """Six items, four users, popularity from 0.4 down to 0.02: p(item), p(item | user), tables."""
    rng = np.random.default_rng(5)
    affinity = rng.dirichlet([2.0, 1.5, 1.0, 0.5, 0.3, 0.15], size=4) * 0.9 + 0.1 / 6
    users = rng.normal(size=(4, 3)).astype(np.float32)
    items = rng.normal(size=(6, 3)).astype(np.float32)
    return affinity.mean(axis=0), affinity, users, items


def full_softmax_gradient(affinity, users, items):
    scores = users @ items.T
    probability = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    by_score = (probability - affinity) / len(users)
    return by_score @ items, by_score.T @ users


def mean_sampled_gradient(task, affinity, users, items, batch_size=1024, batches=60):
    users, items = tf.Variable(users), tf.Variable(items)

    @tf.function
    def gradient(user, item):
        with tf.GradientTape() as tape:
            loss = task(tf.gather(users, user), tf.gather(items, item), candidate_ids=item, training=True)
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, [users, items])]

    rng = np.random.default_rng(6)
    total = [0.0, 0.0]
    for _ in range(batches):
        user = rng.integers(0, len(affinity), batch_size)
        item = (rng.random((batch_size, 1)) > affinity.cumsum(axis=1)[user]).sum(axis=1)
        for i, g in enumerate(gradient(tf.constant(user), tf.constant(np.minimum(item, 5)))):
            total[i] += g.numpy() / batches
    return total


def relative_error(sampled, full):
    return max(np.linalg.norm(s - f) / np.linalg.norm(f) for s, f in zip(sampled, full))


def test_the_corrected_gradient_approaches_the_full_softmax():
    p, affinity, users, items = planted()
    full = full_softmax_gradient(affinity, users, items)
    static = StaticCorrection(np.round(p * 1e6))
    options = {"temperature": 1.0, "remove_accidental_hits": False}
    corrected = mean_sampled_gradient(mean_task(logq=static, **options), affinity, users, items)
    assert relative_error(corrected, full) < 0.05
    streaming = StreamingCorrection(buckets=6)
    corrected = mean_sampled_gradient(mean_task(logq=streaming, **options), affinity, users, items)
    assert relative_error(corrected, full) < 0.15
    uncorrected = mean_sampled_gradient(mean_task(**options), affinity, users, items)
    assert relative_error(uncorrected, full) > 0.3


def test_with_hits_removed_an_example_keeps_the_full_softmax_direction():
    p, affinity, users, items = planted()
    task = mean_task(temperature=1.0, logq=StaticCorrection(np.round(p * 1e6)))
    for positive in range(6):  # every example is user 0 with this positive, among negatives drawn from p
        rng = np.random.default_rng(positive)
        drawn = np.concatenate([[positive], rng.choice(6, size=20_000, p=p)])
        query = tf.Variable(users[:1])
        with tf.GradientTape() as tape:
            loss = task(query, tf.gather(items, drawn), candidate_ids=tf.constant(drawn))
        sampled = tape.gradient(loss, query).numpy()[0]
        probability = np.exp(users[0] @ items.T)
        full = (probability / probability.sum()) @ items - items[positive]
        cosine = sampled @ full / np.linalg.norm(sampled) / np.linalg.norm(full)
        assert cosine > 0.999


def test_sum_and_mean_differ_by_the_weights_alone():
    weights = tf.constant([2.0, 0.5, 1.0])
    by_sum, by_mean = Retrieval(), Retrieval(reduction="mean")
    assert float(by_sum(QUERIES, CANDIDATES)) == pytest.approx(3 * float(by_mean(QUERIES, CANDIDATES)), rel=1e-6)
    assert float(by_sum(QUERIES, CANDIDATES, weights)) == pytest.approx(
        3.5 * float(by_mean(QUERIES, CANDIDATES, weights)), rel=1e-6
    )
    theirs = tfrs.tasks.Retrieval()
    assert float(by_sum(QUERIES, CANDIDATES, weights)) == pytest.approx(
        float(theirs(QUERIES, CANDIDATES, weights)), rel=1e-6
    )
    column = by_sum(QUERIES, CANDIDATES, weights[:, tf.newaxis])  # a column of a tf.data batch
    assert float(column) == pytest.approx(float(by_sum(QUERIES, CANDIDATES, weights)), rel=1e-6)


@pytest.mark.parametrize(("settings", "message"), [
    ({"reduction": "total"}, 'reduction.*"sum" or "mean".*total'),
    ({"loss": tf.keras.losses.CategoricalCrossentropy()}, "loss.*subclass of `Loss`"),
    ({"loss": FullSoftmax()}, "loss.*sampled candidates.*FullSoftmax"),
    ({"loss": TripletHinge}, "loss.*subclass of `Loss`"),
])
def test_what_the_task_cannot_be_is_said_at_once(settings, message):
    with pytest.raises(ConfigError, match=message):
        Retrieval(**settings)


def test_a_temperature_may_be_any_number_or_none_as_in_tfrs():
    for temperature, value in ((None, 1.0), (np.float32(0.5), 0.5), (2, 2.0)):
        assert float(Retrieval(temperature=temperature).temperature.value()) == value


def test_the_tutorials_model_is_as_good_with_this_task_in_its_place(shared_data):
    """The basic retrieval tutorial on MovieLens-100K: Adagrad 0.1; of smaller batches, to be quick."""
    with zipfile.ZipFile(shared_data / "ml-100k.zip") as archive:
        ratings = pd.read_csv(archive.open("ml-100k/u.data"), sep="\t", names=["user", "item", "rating", "time"])
    ratings = ratings.sample(frac=1.0, random_state=42)
    data = tf.data.Dataset.from_tensor_slices({"user": ratings["user"] - 1, "item": ratings["item"] - 1})
    found = {}
    for kind in (tfrs.tasks.Retrieval, Retrieval):
        tf.keras.utils.set_random_seed(42)
        model = Tutorial(kind)
        model.compile(tf.keras.optimizers.Adagrad(0.1))
        model.fit(data.take(80_000).batch(2048), epochs=2, verbose=0)
        figures = model.evaluate(data.skip(80_000).take(4096).batch(4096), return_dict=True, verbose=0)
        found[kind] = figures["factorized_top_k/top_100_categorical_accuracy"]
    assert found[tfrs.tasks.Retrieval] > 0.15  # by chance: 0.06
    assert found[Retrieval] >= found[tfrs.tasks.Retrieval] - 1e-3


class Tutorial(tfrs.Model):
    """The tutorial's towers, of rows in place of texts; the metric is computed in evaluation alone."""

    def __init__(self, task):
        super().__init__()
        self.users, self.items = tf.keras.layers.Embedding(943, 32), tf.keras.layers.Embedding(1682, 32)
        candidates = tf.data.Dataset.range(1682).batch(1682).map(self.items)
        self.task = task(metrics=tfrs.metrics.FactorizedTopK(candidates=candidates, ks=[100]))

    def compute_loss(self, features, training=False):
        queries, candidates = self.users(features["user"]), self.items(features["item"])
        return self.task(queries, candidates, compute_metrics=not training)
