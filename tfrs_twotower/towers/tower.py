"""A tower: embed → encode → project → normalise. A `VectorEncoder` does the last three by itself."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import Field, SequenceEmbedding, derive_seed
from tfrs_twotower.features.fields.history import HistoryField
from tfrs_twotower.features.fields.id import IdField, is_user_table
from tfrs_twotower.features.fields.past import PastField
from tfrs_twotower.towers.encoder import Encoder, VectorEncoder, build_encoder


class Tower(tf.keras.layers.Layer):
    """One side of the model: from features to vectors.

    Args:
      fields: `Field`s, as `build_fields` returns them for one side.
      encoder: configuration of the encoder, such as `MLP()`, which reads the list of the fields' embeddings.
      dim: size of the vectors.
      normalise: whether vectors get length 1 (cosine similarity). A zero vector stays zero.
      start: whether a learned vector replaces the zero vector, which an encoder without a bias (`keeps_zero`) makes if
        nothing is known. A new user's recommendations come from it.
      seed: of encoder and projection.
      name: name of the layer.
    """

    def __init__(
        self, fields: Iterable[Field], encoder: Encoder, dim: int, normalise: bool, seed: int = 0, name: str = "tower",
        start: bool = False,
    ) -> None:
        super().__init__(name=name)
        self.fields = list(fields)
        self.encoder = build_encoder(encoder, derive_seed(seed, "encoder"), dim)
        self.dim = dim
        self.normalise = normalise
        self._start = None
        if start and getattr(self.encoder, "keeps_zero", False):
            init = tf.keras.initializers.RandomUniform(-0.05, 0.05, seed=derive_seed(seed, "start"))
            self._start = self.add_weight("start", (dim,), initializer=init)
        if isinstance(self.encoder, VectorEncoder):
            self._project = None
            if normalise:
                rule, way_out = f"be 'dot' with {type(encoder).__name__}", "Its score is the inner product as it is."
                raise ConfigError(invalid("similarity", rule, "cosine", way_out))
            return
        # No bias, as hidden layers have theirs. So a zero input stays zero, and sends no gradient through the
        # normalisation, which is steep there.
        init = tf.keras.initializers.GlorotUniform(seed=derive_seed(seed, "projection"))
        self._project = tf.keras.layers.Dense(dim, use_bias=False, kernel_initializer=init, name="projection")

    @property
    def projection(self) -> tf.keras.layers.Dense | None:
        """The dense layer after the encoder; None if the encoder makes the vector itself."""
        return self._project

    @property
    def user_table(self) -> IdField | None:
        """The field of the user ids, if it has a table row per user; else None."""
        return next(filter(is_user_table, self.fields), None)

    def inputs(self) -> dict[str, tf.TensorSpec]:
        """{column: tf.TensorSpec} of the raw inputs of all fields, known after they are adapted.

        Raises:
          ConfigError: two fields read the same column in different ways.
        """
        inputs, reader = {}, {}
        for field in self.fields:
            for column, spec in field.inputs().items():
                if inputs.setdefault(column, spec) != spec:
                    raise ConfigError(
                        f"Column `{column}` is read as {_describe(inputs[column])} by `{reader[column]}` and "
                        f"as {_describe(spec)} by `{field.name}`. Give one a copy under another name."
                    )
                reader.setdefault(column, field.name)
        return inputs

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
        """{column: raw tensor} → {field name: encoded}. Graph code without weights."""
        return {field.name: field.encode(raw) for field in self.fields}

    def call(self, encoded: Mapping[str, Mapping[str, tf.Tensor]], training: bool = False) -> tf.Tensor:
        """Result of `encode` → [batch, dim], or [batch, interests, dim] if the encoder gives several."""
        return self.vectors(self.embed(encoded, training), training)

    def embed(
        self, encoded: Mapping[str, Mapping[str, tf.Tensor]], training: bool = False
    ) -> list[tf.Tensor | SequenceEmbedding]:
        """Result of `encode` → the fields' embeddings, in their order: [batch, dᵢ] each, except for a sequence."""
        return [field(encoded[field.name], training=training) for field in self.fields]

    def vectors(self, embeddings: Sequence[tf.Tensor | SequenceEmbedding], training: bool = False) -> tf.Tensor:
        """Result of `embed`, changed or not → the vectors of `call`."""
        return self._finish(self.encoder(embeddings, training=training))

    @property
    def is_linear(self) -> bool:
        """Is the vector, up to its length, a sum of one part for each field, and for each event of a history?"""
        pasts = [field for field in self.fields if isinstance(field, PastField)]
        pooled = all(isinstance(f, HistoryField) and not (f.feature.kinds or f.feature.merge) for f in pasts)
        return pooled and self._project is not None and getattr(self.encoder, "is_linear", False)

    def parts(self, encoded: Mapping[str, Mapping[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
        """What each field adds to the vectors of `call`, if the tower `is_linear`.

        The sum of all parts is the vector, except where the start vector stands for a query of which nothing is known.

        Returns:
          {field name: [batch, dim]}. The parts of a history are those of its events: [batch, any, dim].
        """
        embeddings = [tf.cast(embedding, tf.float32) for embedding in self.embed(encoded)]
        project: tf.keras.layers.Dense = self._project
        vectors = tf.cast(project(tf.concat(embeddings, axis=-1)), tf.float32)  # builds the kernel, too
        kernels = tf.split(tf.cast(project.kernel, tf.float32), [e.shape[-1] for e in embeddings])
        length = tf.norm(vectors, axis=-1, keepdims=True) if self.normalise else tf.ones_like(vectors[:, :1])
        length, found = tf.where(length > 0, length, 1.0), {}
        for field, embedding, kernel in zip(self.fields, embeddings, kernels):
            if isinstance(field, HistoryField):
                found[field.name] = field.shares(encoded[field.name]) @ kernel / length[:, tf.newaxis]
            else:
                found[field.name] = embedding @ kernel / length
        return found

    def at_positions(
        self, encoded: Mapping[str, Mapping[str, tf.Tensor]], starts: int | tf.Tensor = 0, training: bool = False
    ) -> tf.Tensor:
        """The vectors after every event of a sequence, and then for the start of `starts` histories: [n, dim].

        The encoder must be a sequence encoder, and fields beside the sequence come encoded as [n, ...].
        """
        return self._finish(self.encoder.at_positions(self.embed(encoded, training), starts, training=training))

    def _finish(self, values: tf.Tensor) -> tf.Tensor:
        vectors = tf.cast(values if self._project is None else self._project(values), tf.float32)
        if self._start is not None:
            known = tf.reduce_any(vectors != 0, axis=-1, keepdims=True)
            vectors = tf.where(known, vectors, tf.cast(self._start, tf.float32))
        return tf.math.l2_normalize(vectors, axis=-1) if self.normalise else vectors

    def field_weights(self, encoded: Mapping[str, Mapping[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
        """{field name: [batch]}: the factor of each field; the encoder must weigh fields, as `SENet` does."""
        weights = self.encoder.field_weights(self.embed(encoded, training=False))
        return {field.name: w for field, w in zip(self.fields, tf.unstack(weights, axis=1))}

    def state(self) -> dict[str, Mapping[str, np.ndarray | np.number]]:
        """{field name: {name: numpy array}}: the fields' state."""
        return {field.name: field.state() for field in self.fields}

    def load_state(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Loads the result of `state`. A History also needs the candidate tower's state."""
        for field in self.fields:
            field.load_state(state.get(field.name, {}))


def _describe(spec: tf.TensorSpec) -> str:
    return f"{spec.dtype.name}{list(spec.shape)}"
