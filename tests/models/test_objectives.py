"""Objectives: the proof that every source of negatives approaches the full softmax, queue, hard and explicit ones."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.losses import RefinedSampledSoftmax, SampledSoftmax
from tfrs_twotower.models import (
    CatalogueObjective,
    FixedTemperature,
    ItemFeatures,
    Positives,
    Retrieval,
    SampledObjective,
    ScheduledTemperature,
    build_temperature,
)
from tfrs_twotower.sampling import (
    CrossBatch,
    Hard,
    HardNegatives,
    InBatch,
    Negatives,
    NoCorrection,
    Popular,
    StaticCorrection,
    Uniform,
)

ITEMS, DIM, BATCH = 6, 3, 1024


class Table(tf.keras.layers.Layer):
    """A candidate tower that is a table."""

    def __init__(self, values):
        super().__init__()
        self.table = tf.Variable(values)

    def call(self, encoded, training=False):
        return tf.gather(self.table, encoded["id"]["index"])


class World:
    """Six items, four users: p(item | user) has full support, popularity from 0.4 down to 0.05."""

    def __init__(self):
        rng = np.random.default_rng(5)
        self.affinity = rng.dirichlet([2.0, 1.5, 1.0, 0.5, 0.3, 0.15], size=4) * 0.8 + 0.2 / ITEMS
        self.p = self.affinity.mean(axis=0)
        self.counts = np.round(self.p * 1e6).astype(np.int64)
        self.users = tf.Variable(rng.normal(size=(4, DIM)).astype(np.float32))
        self.tower = Table(rng.normal(size=(ITEMS, DIM)).astype(np.float32))
        self.items = ItemFeatures({"id": {"index": np.arange(ITEMS, dtype=np.int32)}})
        self.rng = np.random.default_rng(6)

    def batch(self, size=BATCH):
        user = self.rng.integers(0, 4, size)
        item = (self.rng.random((size, 1)) > self.affinity.cumsum(axis=1)[user]).sum(axis=1)
        return tf.constant(user), tf.constant(np.minimum(item, ITEMS - 1), tf.int32)

    def full_gradient(self):
        scores = self.users.numpy() @ self.tower.table.numpy().T
        probability = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        by_score = (probability - self.affinity) / 4
        return by_score @ self.tower.table.numpy(), by_score.T @ self.users.numpy()

    def sampled(self, sources, logq=None, loss=SampledSoftmax(), hits=False):
        logq = StaticCorrection(self.counts) if logq is None else logq
        negatives = Negatives(sources, logq, np.arange(ITEMS), self.counts, DIM)
        task = Retrieval(loss=loss, in_batch=negatives.in_batch, remove_accidental_hits=hits, reduction="mean")
        return SampledObjective(task, negatives, self.items, self.tower)

    def mean_gradient(self, objective, batches=60):
        @tf.function
        def gradient(user, item):
            with tf.GradientTape() as tape:
                loss = objective(
                    tf.gather(self.users, user), tf.gather(self.tower.table, item), no_context(item), training=True
                )
            return [tf.convert_to_tensor(g) for g in tape.gradient(loss, [self.users, self.tower.table])]

        total = [0.0, 0.0]
        for _ in range(batches):
            for i, g in enumerate(gradient(*self.batch())):
                total[i] += g.numpy() / batches
        return total

    def error(self, objective):
        pairs = zip(self.mean_gradient(objective), self.full_gradient())
        return max(np.linalg.norm(s - f) / np.linalg.norm(f) for s, f in pairs)


def no_context(item):
    nothing = tf.zeros([tf.shape(item)[0], 0], tf.int32)
    return Positives(item, tf.ones(tf.shape(item)), nothing, nothing)


SOURCES = {
    "in-batch": (InBatch(),),
    "uniform": (Uniform(BATCH),),
    "popular": (Popular(BATCH, 0.75),),
    "queue": (CrossBatch(BATCH),),
    "all": (InBatch(), Uniform(700), Popular(500, 0.75), CrossBatch(600)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_corrected_gradients_approach_those_of_the_full_softmax(name):
    world = World()
    # A queue's vectors are constants, so its items get no gradient from it: the users' is compared then.
    objective = world.sampled(SOURCES[name])
    if name in ("queue", "all"):
        got, full = world.mean_gradient(objective)[0], world.full_gradient()[0]
        assert np.linalg.norm(got - full) / np.linalg.norm(full) < 0.06
    else:
        assert world.error(objective) < 0.06


@pytest.mark.parametrize("name", ["in-batch", "popular", "queue", "all"])
def test_without_the_correction_they_do_not(name):
    world = World()
    got, full = world.mean_gradient(world.sampled(SOURCES[name], NoCorrection()))[0], world.full_gradient()[0]
    assert np.linalg.norm(got - full) / np.linalg.norm(full) > 0.12


@pytest.mark.parametrize("name", ["in-batch", "uniform", "popular"])
def test_the_refined_softmax_needs_no_hits_to_be_unbiased(name):
    world = World()
    refined = world.error(world.sampled(SOURCES[name], loss=RefinedSampledSoftmax(), hits=True))
    plain = world.error(world.sampled(SOURCES[name], hits=True))
    assert refined < 0.06
    assert plain > 2 * refined


def test_the_expected_count_is_the_sum_over_the_sources():
    counts = np.array([7, 2, 0])  # p = 8/12, 3/12, 1/12
    negatives = Negatives(
        (InBatch(), Uniform(30), Popular(10, 0.5), CrossBatch(8)), StaticCorrection(counts), np.arange(3), counts, 2
    )
    negatives.queue.push(tf.constant([1, 1, 0]), tf.zeros([3, 2]))
    root = np.sqrt([8, 3, 1])
    expected = 4 * counts_p(counts) + 30 / 3 + 10 * root / root.sum() + 3 * counts_p(counts)
    got = negatives.expected_count(tf.constant([0, 1, 2, 1]), 4, training=False)
    np.testing.assert_allclose(got, expected[[0, 1, 2, 1]], rtol=1e-5)


def counts_p(counts):
    return (counts + 1) / (counts + 1).sum()


@pytest.mark.parametrize("source, p", [(Uniform(5000), np.full(4, 0.25)), (Popular(5000, 1.0), [0.1, 0.2, 0.3, 0.4])])
def test_draws_follow_their_distribution_over_the_catalogue(source, p):
    rows = np.array([3, 5, 6, 9])
    negatives = Negatives((source,), NoCorrection(), rows, np.array([0, 1, 2, 3]), 2, seed=3)
    drawn = np.concatenate([negatives.draw().numpy() for _ in range(8)])
    share = np.array([(drawn == row).mean() for row in rows])
    assert share.sum() == 1
    np.testing.assert_allclose(share, p, atol=0.01)  # standard error at most 0.0025


def test_draws_go_on_where_a_checkpoint_stopped(tmp_path):
    def make():
        return Negatives((Uniform(9), CrossBatch(4)), NoCorrection(), np.arange(50), np.ones(50), 2, seed=1)

    first, second = make(), make()
    first.draw()
    first.queue.push(tf.constant([4, 5]), tf.ones([2, 2]))
    path = tf.train.Checkpoint(n=first).save(str(tmp_path / "c"))
    tf.train.Checkpoint(n=second).restore(path).assert_consumed()
    assert first.draw().numpy().tolist() == second.draw().numpy().tolist()
    assert second.queue.read()[0].numpy().tolist() == [4, 5, -1, -1]


def test_the_queue_keeps_the_newest():
    negatives = Negatives((CrossBatch(3),), NoCorrection(), np.arange(9), np.ones(9), 1)
    queue = negatives.queue
    for rows in ([1], [2, 3], [4], [5, 6, 7, 8]):
        queue.push(tf.constant(rows), tf.cast(rows, tf.float32)[:, tf.newaxis])
    rows, vectors = queue.read()
    assert sorted(rows.numpy()) == [6, 7, 8]
    np.testing.assert_array_equal(vectors[:, 0], rows)
    assert int(queue.length()) == 3


def test_a_queue_that_warms_up_is_not_there_until_then(tmp_path):
    """Loss and Q of the first steps are those of in-batch negatives; after 3 steps 8 positives are kept, then 16."""
    world, warming = World(), (InBatch(), CrossBatch(64, warmup_steps=3))
    plain, queued = world.sampled((InBatch(),)), world.sampled(warming)
    assert float(queued.negatives.queue.length()) == 0
    p, every = StaticCorrection(world.counts), tf.range(4)
    in_batch = np.exp(p.log_expected_count(every, 8, False))
    lengths = []
    for step in range(5):
        user, item = world.batch(8)
        queries, candidates = tf.gather(world.users, user), tf.gather(world.tower.table, item)
        losses = [float(o(queries, candidates, no_context(item), training=True)) for o in (plain, queued)]
        assert (losses[0] == pytest.approx(losses[1], rel=1e-6)) == (step <= 3), step
        lengths.append(int(queued.negatives.queue.length()))
        expected = queued.negatives.expected_count(every, 8, False)
        np.testing.assert_allclose(expected, in_batch * (1 + lengths[-1] / 8), rtol=1e-5)
        if step == 1:  # resumed
            path = tf.train.Checkpoint(n=queued.negatives).save(str(tmp_path / "c"))
            queued = world.sampled(warming)
            tf.train.Checkpoint(n=queued.negatives).restore(path).assert_consumed()
    assert lengths == [0, 0, 0, 8, 16]
    with pytest.raises(ConfigError, match="CrossBatch.warmup_steps"):
        world.sampled((CrossBatch(64, warmup_steps=3),))


def test_empty_places_of_the_queue_do_not_count():
    world = World()
    user, item = world.batch(8)
    queries, candidates = tf.gather(world.users, user), tf.gather(world.tower.table, item)
    plain = world.sampled((InBatch(),))(queries, candidates, no_context(item))
    queued = world.sampled((InBatch(), CrossBatch(64)))(queries, candidates, no_context(item))
    assert float(queued) == pytest.approx(float(plain), rel=1e-6)


def test_uniform_alone_leaves_other_rows_positives_out():
    world = World()
    objective = world.sampled((Uniform(1),), NoCorrection())
    drawn = int(world.sampled((Uniform(1),), NoCorrection()).negatives.draw()[0])  # the same seed: the same draw
    queries, items = tf.gather(world.users, [0, 1]), [2, 5]
    loss = objective(queries, tf.gather(world.tower.table, items), no_context(tf.constant(items)))
    scores = (queries @ tf.transpose(world.tower.table)).numpy()
    expected = [np.log1p(np.exp(scores[i, drawn] - scores[i, item])) for i, item in enumerate(items)]
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-5)


def test_hard_negatives_come_from_the_ranks_asked_for():
    hard = HardNegatives(Hard(count=50, first=3, last=5), np.arange(100, 110), 2)
    hard.refresh(tf.stack([tf.range(10.0), tf.zeros(10)], axis=1))  # item 109 ranks first for [1, 0]
    drawn = hard.draw(tf.constant([[1.0, 0.0], [-1.0, 0.0]])).numpy()
    assert set(drawn[0]) == {107, 106, 105}
    assert set(drawn[1]) == {102, 103, 104}


def test_explicit_and_hard_negatives_belong_to_their_row_uncorrected():
    world = World()
    base = world.sampled((InBatch(),), hits=True)
    objective = SampledObjective(base.task, base.negatives, world.items, world.tower, explicit=True)
    user, item = tf.constant([0, 1]), tf.constant([0, 1])
    queries, candidates = tf.gather(world.users, user), tf.gather(world.tower.table, item)
    # Row 0: item 4; item 3 is known to be liked, −1 is padding. Row 1: its own positive does not count.
    explicit, known = tf.constant([[4, 3, -1], [1, 5, -1]]), tf.constant([[3], [-1]])
    loss = objective(queries, candidates, Positives(item, tf.ones([2]), known, explicit))
    scores = (queries @ tf.transpose(world.tower.table)).numpy().astype(np.float64)
    q = 2 * counts_p(world.counts)
    corrected = np.exp(scores) / q
    rows = [
        -np.log(corrected[0, 0] / (corrected[0, 0] + corrected[0, 1] + np.exp(scores[0, 4]))),
        -np.log(corrected[1, 1] / (corrected[1, 1] + corrected[1, 0] + np.exp(scores[1, 5]))),
    ]
    assert float(loss) == pytest.approx(np.mean(rows), rel=1e-4)


def test_the_catalogue_objective_is_the_full_softmax():
    world = World()
    catalogue = np.array([5, 0, 3, 1])  # items 2 and 4 cannot be recommended
    temperature = build_temperature(FixedTemperature(0.5))
    objective = CatalogueObjective(temperature, world.items, world.tower, catalogue, block=2)
    queries, item = world.users[:3], tf.constant([0, 3, 5])
    known = tf.constant([[3, -1], [3, 2], [-1, -1]])
    nothing = tf.zeros([3, 0], tf.int32)
    loss = objective(queries, None, Positives(item, tf.ones([3]), known, nothing))
    weights = np.exp((queries @ tf.transpose(world.tower.table)).numpy().astype(np.float64) / 0.5)
    left = [[5, 0, 1], catalogue, catalogue]  # row 1 knows its own positive: it counts
    expected = [-np.log(weights[i, p] / weights[i, left[i]].sum()) for i, p in enumerate([0, 3, 5])]
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-5)


def test_a_step_of_the_catalogue_objective_is_one_of_its_temperature():
    world, item = World(), tf.constant([0, 3, 5])
    temperature = build_temperature(ScheduledTemperature(start=0.8, end=0.2, steps=2))
    objective = CatalogueObjective(temperature, world.items, world.tower, np.arange(ITEMS), block=2)
    positives = Positives(item, tf.ones([3]), tf.fill([3, 1], -1), tf.zeros([3, 0], tf.int32))
    objective(world.users[:3], None, positives)  # an evaluation is none
    losses = [float(objective(world.users[:3], None, positives, training=True)) for _ in range(3)]
    scores = (world.users[:3] @ tf.transpose(world.tower.table)).numpy().astype(np.float64)
    for loss, tau in zip(losses, [0.8, 0.4, 0.2]):
        weights = np.exp(scores / tau)
        expected = -np.log(weights[np.arange(3), item] / weights.sum(axis=1))
        assert loss == pytest.approx(expected.mean(), rel=1e-5)
