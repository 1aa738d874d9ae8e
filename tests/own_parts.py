"""A recipe made of classes of one's own, one for each place where a recipe takes them."""

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.configuration import config, layer_of
from tfrs_twotower.data import QueryBuilder, Source, Split, Splitter, synthetic
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.features import Feature, Field, History, Id, Schema
from tfrs_twotower.index import Exact, IndexConfig, IndexKind, TopK, merged
from tfrs_twotower.losses import Loss, sampled_softmax
from tfrs_twotower.models import AuxiliaryLoss
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.rerankers import Reranker, RerankerConfig
from tfrs_twotower.sampling import Drawn, InBatch
from tfrs_twotower.towers import Encoder
from tfrs_twotower.training import LazyAdamConfig, TrainingConfig


@config
class Planted(Source):
    """Clusters of users and items, made up."""

    users_count: int = 200

    @property
    def name(self):
        return "planted"

    def interactions(self):
        yield from self._made().interactions()

    def items(self):
        return self._made().items()

    def _made(self):
        return synthetic(users=self.users_count, items=100, clusters=4, events=40, noise=0.1, seed=0)[0]


@config
class LastShare(Splitter):
    """The last share of each user's events is the test, the share before it validation."""

    share: float = 0.1

    def split(self, log, seed=0):
        builder = QueryBuilder(log)
        begin, end = builder.starts[:-1], builder.starts[1:]
        held = np.maximum(((end - begin) * self.share).astype(int), 1)
        test = builder.build(builder.order[end - held], builder.order[end - 1])
        validation = builder.build(builder.order[end - 2 * held], builder.order[end - held - 1])
        train = np.concatenate([builder.order[b: e - 2 * h] for b, e, h in zip(begin, end, held)])
        return Split(np.sort(train), validation, test)


@config
class Steps(Feature):
    """A number as the vector of the steps that it is above."""

    column: str
    steps: tuple[float, ...] = (1.0,)
    dim: int = 4

    @property
    def columns(self):
        return (self.column,)

    @property
    def name(self):
        return f"steps_{self.column}"


@layer_of(Steps)
class StepsField(Field):
    """Encoded: {"above": float32 [batch, steps]}."""

    def inputs(self):
        return {self.feature.column: tf.TensorSpec([None], tf.float32)}

    def adapt(self, columns, counts):
        self._scale = float(np.nanmean(pa.chunked_array([columns[self.feature.column]]).to_numpy()))

    def encode(self, raw):
        values = raw[self.feature.column][:, tf.newaxis] / self._scale
        return {"above": tf.cast(values > list(self.feature.steps), tf.float32)}

    def build(self, input_shape):
        self._kernel = self.kernel(len(self.feature.steps), self.feature.dim)
        super().build(input_shape)

    def call(self, encoded, training=False):
        return encoded["above"] @ self._kernel

    def state(self):
        return {"scale": np.float64(self._scale)}

    def load_state(self, state):
        self._scale = float(state["scale"])


@config
class Gated(Encoder):
    """A dense layer times a gate."""

    width: int = 16


@layer_of(Gated)
class GatedLayer(tf.keras.layers.Layer):
    def __init__(self, settings, seed=0):
        super().__init__(name="gated")
        glorot = tf.keras.initializers.GlorotUniform(seed=seed)
        self._dense = tf.keras.layers.Dense(settings.width, kernel_initializer=glorot)
        self._gate = tf.keras.layers.Dense(settings.width, "sigmoid", kernel_initializer=glorot)

    def call(self, embeddings, training=False):
        values = tf.concat(embeddings, axis=-1)
        return self._dense(values) * self._gate(values)


@config
class Smoothed(Loss):
    """The sampled softmax with scores pulled towards 0."""

    factor: float = 0.9

    def __call__(self, scores, log_expected, mask, weights, positive):
        scores = self.factor * scores
        return sampled_softmax(scores if log_expected is None else scores - log_expected, mask, weights, positive)


@config
class Rare(Drawn):
    """Items that are seldom positives."""

    count: int = 64

    def probabilities(self, counts):
        weight = 1 / (1 + counts)
        return weight / weight.sum()


@config
class Short(AuxiliaryLoss):
    """Queries of small norm."""

    weight: float = 0.001


@layer_of(Short)
class ShortLoss(tf.keras.layers.Layer):
    def __init__(self, settings, seed=0):
        super().__init__(name="short")
        self._weight = settings.weight

    def call(self, model, batch, queries, candidates, positives, training=False):
        return self._weight * tf.reduce_mean(tf.reduce_sum(queries**2, axis=-1))


@config
class Product(RerankerConfig):
    """Dense layers over the product of both vectors."""

    widths: tuple[int, ...] = (8,)
    top: int = 20
    negatives: int = 5
    weight: float = 0.1


@layer_of(Product)
class ProductReranker(Reranker):
    def __init__(self, settings, query_tower, candidate_tower, seed=0):
        super().__init__(settings, seed, name="product")

    def query(self, encoded, vectors, training=False):
        return vectors

    def candidate(self, encoded, vectors, training=False):
        return vectors

    def inputs(self, query, candidates):
        return query[:, tf.newaxis] * candidates


@config
class Parts(IndexKind):
    """Exact search of parts of the catalogue, one after the other, in the graph."""

    count: int = 3

    def build(self, vectors, settings, seed=0):
        return PartsIndex(vectors, self.count)


class PartsIndex(tf.Module):
    exact = False

    def __init__(self, vectors, count):
        super().__init__()
        self.size, self.dim = vectors.shape
        self.starts = [i * self.size // count for i in range(count)]
        self.parts = [Exact(part) for part in np.split(vectors, self.starts[1:])]

    def search(self, queries, k):
        found = [part.search(queries, k) for part in self.parts]
        rows = [tf.where(f.rows >= 0, f.rows + start, -1) for f, start in zip(found, self.starts)]
        best = merged(tf.concat([f.scores for f in found], axis=1), tf.concat(rows, axis=1), k)
        return TopK(best.scores, best.rows)

    def settings(self):
        return {"kind": "parts", "parts": len(self.parts)}


def recipe():
    """All of them in one recipe."""
    candidate = (Id("item_id"), Steps("price", steps=(0.5, 1.0)))
    schema = Schema(query=(Id("user_id"), History(length=10)), candidate=candidate)
    return Recipe(
        name="own", source=Planted(), split=LastShare(), schema=schema,
        model=ModelConfig(
            dim=16, query_encoder=Gated(), candidate_encoder=Gated(width=32), loss=Smoothed(),
            negatives=(InBatch(), Rare()), auxiliary=(Short(),), reranker=Product(),
        ),
        training=TrainingConfig(epochs=3, batch_size=256, optimizer=LazyAdamConfig(learning_rate=0.01)),
        evaluation=EvaluationConfig(ks=(5, 10), bootstrap=0, baseline_seconds=0), index=IndexConfig(kind=Parts()),
    )
