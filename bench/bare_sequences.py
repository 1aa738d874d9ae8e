"""SASRec and HSTU as one writes them down with TensorFlow alone: what `bench_sequences speed` compares with."""

import tensorflow as tf


class _Bare:
    """Items' table, two blocks with biases for places and pauses, full softmax by cosine, Keras' Adam."""

    def __init__(self, items, dim, length, blocks=2, dropout=0.2):
        self.dim, self.length, self.blocks, self.dropout = dim, length, blocks, dropout
        self.variables = []
        self.table = self.weight(items, dim)
        self.project = self.weight(dim, dim)
        self.parts = [self.block() for _ in range(blocks)]
        self.optimizer = tf.keras.optimizers.Adam(0.002, beta_2=0.98)

    def weight(self, *shape, start=None):
        value = tf.random.normal(shape) * 0.05 if start is None else tf.fill(shape, start)
        self.variables.append(tf.Variable(value))
        return self.variables[-1]

    def norm(self):
        return self.weight(self.dim, start=1.0), self.weight(self.dim, start=0.0)

    def bias(self, heads):
        return self.weight(heads, self.length, start=0.0), self.weight(heads, 64, start=0.0)

    def biased(self, scores, bias, buckets):
        position, time = bias
        places = tf.range(self.length)
        apart = tf.maximum(places[:, None] - places[None, :], 0)
        scores += tf.gather(position, apart, axis=1)
        return scores + tf.transpose(tf.gather(tf.transpose(time), buckets), [0, 3, 1, 2])

    def heads(self, x, heads):
        return tf.transpose(tf.reshape(x, [-1, self.length, heads, self.dim // heads]), [0, 2, 1, 3])

    def step(self, batch):
        """() → the loss after one training step on the batch's windows."""
        items = batch["past_id"]
        targets = batch["candidate_id"][:tf.size(items)]  # without the first events, which follow from none
        age = batch["query"]["sequence"]["age"]
        asked = tf.pad(age[:, 1:], [[0, 0], [0, 1]])
        self.optimizer.build(self.variables)

        @tf.function
        def run(items, targets, age, asked):
            seconds = tf.cast(tf.maximum(age[:, None, :] - asked[:, :, None], 0), tf.float32)
            buckets = tf.minimum(tf.cast(tf.math.log1p(seconds) * 2.885, tf.int32), 63)
            with tf.GradientTape() as tape:
                x = tf.nn.dropout(tf.gather(self.table, items) * self.dim**0.5, self.dropout)
                for part in self.parts:
                    x = self.apply(part, x, buckets)
                x = tf.nn.l2_normalize(tf.reshape(x, [-1, self.dim]) @ self.project, axis=-1)
                scores = tf.matmul(x, tf.nn.l2_normalize(self.table, axis=-1), transpose_b=True) / 0.05
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=scores))
            self.optimizer.apply_gradients(zip(tape.gradient(loss, self.variables), self.variables))
            return loss

        return lambda: float(run(items, targets, age, asked))


def _normalised(x, norm):
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, norm[1], norm[0], 1e-6)


class BareHSTU(_Bare):
    """One head of the items' dim."""

    def block(self):
        return {"norm": self.norm(), "split": self.weight(self.dim, 4 * self.dim), "bias": self.bias(1),
                "after": self.norm(), "join": self.weight(self.dim, self.dim), "shift": self.weight(self.dim)}

    def apply(self, part, x, buckets):
        mixed = tf.nn.silu(_normalised(x, part["norm"]) @ part["split"])
        gate, value, query, key = tf.split(mixed, 4, axis=-1)
        scores = tf.matmul(self.heads(query, 1), self.heads(key, 1), transpose_b=True)
        weights = tf.nn.silu(self.biased(scores, part["bias"], buckets)) / self.length
        weights *= tf.linalg.band_part(tf.ones([self.length, self.length]), -1, 0)
        attended = tf.reshape(tf.transpose(tf.matmul(weights, self.heads(value, 1)), [0, 2, 1, 3]), tf.shape(x))
        gated = tf.nn.dropout(_normalised(attended, part["after"]) * gate, self.dropout)
        return x + gated @ part["join"] + part["shift"]


class BareSASRec(_Bare):
    """Two heads; a feed-forward layer of twice the items' dim."""

    def block(self):
        dim = self.dim
        return {"norm": self.norm(), "split": self.weight(dim, 3 * dim), "bias": self.bias(2),
                "join": self.weight(dim, dim), "after": self.norm(),
                "wide": self.weight(dim, 2 * dim), "narrow": self.weight(2 * dim, dim)}

    def apply(self, part, x, buckets):
        query, key, value = tf.split(_normalised(x, part["norm"]) @ part["split"], 3, axis=-1)
        scores = tf.matmul(self.heads(query, 2), self.heads(key, 2), transpose_b=True) / (self.dim / 2) ** 0.5
        scores = self.biased(scores, part["bias"], buckets)
        causal = tf.linalg.band_part(tf.ones([self.length, self.length]), -1, 0)
        weights = tf.nn.softmax(tf.where(causal > 0, scores, float("-inf")))
        attended = tf.reshape(tf.transpose(tf.matmul(weights, self.heads(value, 2)), [0, 2, 1, 3]), tf.shape(x))
        x += tf.nn.dropout(attended @ part["join"], self.dropout)
        forward = tf.nn.relu(_normalised(x, part["after"]) @ part["wide"]) @ part["narrow"]
        return x + tf.nn.dropout(forward, self.dropout)
