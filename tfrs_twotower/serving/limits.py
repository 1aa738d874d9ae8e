"""The limits on one request."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns
from tfrs_twotower.configuration import config
from tfrs_twotower.errors import invalid
from tfrs_twotower.serving.errors import InvalidArgument, ResourceExhausted

_INTERESTS = 16  # vectors of a query at most
_SPARE = 100  # more than `OutsideIndex` asks for in place of hidden items, beside k
_UNKNOWN_RANK_LIMIT = 2  # an input of unknown rank (`k`) is a scalar or one value for each batch row


@config
class Limits:
    """The limits on one request.

    Attributes:
      max_batch: batch rows of any input.
      max_k: items in the answer of each batch row.
      max_width: length of the lists of a batch row (history, exclusions, candidates).
      max_values: values in the lists of an input (batch rows times length), and values in a whole JSON body. Each value
        may become a vector in memory: a million vectors of 64 float32 take 256 MB.
      max_events: events, or changes of items, that a request may record.
      max_body_bytes: bytes of a request, as it comes over the wire.
    """

    max_batch: int = 1024
    max_k: int = 1000
    max_width: int = 10_000
    max_values: int = 2**20
    max_events: int = 1000
    max_body_bytes: int = 8 * 1024 * 1024

    def of_searches(self) -> Limits:
        """The limits on searches that a front with these limits sends to its shards: with room for what it filters."""
        most = 2 * self.max_k + self.max_width + _SPARE
        return dataclasses.replace(self, max_batch=_INTERESTS * self.max_batch, max_k=most)

    def check_shape(self, spec: tf.TensorSpec, shape: Sequence[int]) -> None:
        """Raises `InvalidArgument` for a wrong rank or size, `ResourceExhausted` for a shape over the limits."""
        name = spec.name
        if spec.shape.rank is None:
            if len(shape) > _UNKNOWN_RANK_LIMIT:
                rule = f"have at most {_UNKNOWN_RANK_LIMIT} dimensions"
                raise InvalidArgument(invalid(name, rule, list(shape), "Send a scalar, or one value a row."))
        elif not spec.shape.is_compatible_with(shape):
            expected = ["any" if size is None else size for size in spec.shape]
            raise InvalidArgument(invalid(name, f"have the shape {expected}", list(shape), "Reshape it."))
        self.check_size(spec, shape)

    def check_size(self, spec: tf.TensorSpec, shape: Sequence[int]) -> None:
        """Raises `ResourceExhausted` for a shape over the limits."""
        name = spec.name
        if len(shape) and shape[0] > self.max_batch:
            rule = f"have at most {self.max_batch} rows"
            raise ResourceExhausted(invalid(name, rule, list(shape), "Send smaller batches."))
        if max(shape[1:], default=0) > self.max_width:
            rule = f"have lists of at most {self.max_width} values"
            raise ResourceExhausted(invalid(name, rule, list(shape), "Send shorter lists."))
        if _has_lists(spec) and math.prod(shape) > self.max_values:
            rule = f"have at most {self.max_values} values, rows times length of a list"
            way_out = f"Send shorter lists, or {self.max_values // math.prod(shape[1:])} rows at a time."
            raise ResourceExhausted(invalid(name, rule, list(shape), way_out))

    def check_k(self, k: np.ndarray) -> None:
        """Raises `InvalidArgument` for a `k` out of range."""
        if k.size == 0 or k.min() < 1 or k.max() > self.max_k:
            received = k.tolist() if k.size <= 10 else f"between {k.min()} and {k.max()}"
            raise InvalidArgument(
                invalid(columns.K, f"be between 1 and {self.max_k}", received, "Change k.")
            )


def _has_lists(spec: tf.TensorSpec) -> bool:
    """Does the request choose the length of a batch row? The model chooses the length of a vector."""
    return spec.shape.rank is None or None in spec.shape[1:]
