"""Checks and runs requests to a loaded model. It does not depend on the transport."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Hashable, Mapping
from concurrent.futures import Executor

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower import columns
from tfrs_twotower.serving import checks
from tfrs_twotower.serving.admission import half_of_processors
from tfrs_twotower.serving.answer_recorder import AnswerRecorder
from tfrs_twotower.serving.blocks import blocks, together
from tfrs_twotower.serving.errors import InvalidArgument, ServingError
from tfrs_twotower.serving.features import Features, with_seen
from tfrs_twotower.serving.joined_calls import Answer, JoinedCalls, alike
from tfrs_twotower.serving.limits import Limits
from tfrs_twotower.serving.model import LoadedModel, Runner, call
from tfrs_twotower.serving.repository import Repository
from tfrs_twotower.serving.signature import Signature, Value

_STORE = " Send them, or start the server with a store that has them: twotower serve --store …."

Answerer = Callable[..., Answer]  # like `Predictor.answer`


class Predictor:
    """Checks requests, fills in inputs that they leave out, and runs them. Threads may share one object.

    Args:
      repository: a `Repository`.
      limits: a `Limits`.
      features: a `Features` that adds the stored features of users; None: requests must carry all features.
      call: a function that runs a signature: (model, signature, tensors) → tensors. That of a `CachedTower` caches
        query vectors.
      answers: an `AnswerRecorder` that keeps what `answer` gives; None: nothing is kept.
      at_a_time: see `JoinedCalls`.
    """

    def __init__(
        self, repository: Repository, limits: Limits = Limits(), features: Features | None = None, call: Runner = call,
        answers: AnswerRecorder | None = None, at_a_time: int = half_of_processors(1),
    ) -> None:
        self.repository = repository
        self.limits = limits
        self._features = features
        self._call = call
        self._answers = answers
        self._joined = JoinedCalls(at_a_time)

    def predict(
        self, signature_name: str, inputs: Mapping[str, ArrayLike | tf.Tensor], version: int | None = None
    ) -> dict[str, np.ndarray]:
        """Runs one request.

        Args:
          signature_name: "" means `serving_default`.
          inputs: arrays or tensors by name. Inputs that have a default may be left out.
          version: an integer; None means the newest.

        Returns:
          Arrays by name; strings are `bytes`.

        Raises:
          InvalidArgument: a name is unknown or missing, a type or rank is wrong, `k` is out of range,
            `popularity_beta` is not finite, or the items and times of a history differ in length.
          NotFound: there is no such version or signature.
          ResourceExhausted: there are more batch rows or longer lists than the limits allow.
          Unavailable: no version is loaded.
        """
        with self.repository.lease(version) as model:
            return self.run(model, self.signature(model, signature_name), inputs)

    def signature(self, model: LoadedModel, name: str) -> Signature:
        """The signature of a name as requests see it: inputs that the server fills in are not required."""
        signature = model.signature(name)
        return signature if self._features is None else self._features.asked(model, signature)

    def run(
        self,
        model: LoadedModel,
        asked: Signature,
        inputs: Mapping[str, ArrayLike | tf.Tensor],
        pause: Callable[[], None] = lambda: None,
    ) -> dict[str, np.ndarray]:
        """Does the same as `predict`, for a `signature` of a model that `repository.lease` holds already.

        pause: a function that is called before each block of a large request. An error that it raises ends the request.
        """
        return self.execute(model, asked.name, self.prepare(model, asked, inputs), pause)

    def answer(
        self,
        model: LoadedModel,
        asked: Signature,
        inputs: Mapping[str, ArrayLike | tf.Tensor],
        pause: Callable[[], None] = lambda: None,
    ) -> Answer:
        """(the outputs as of `run`, {"answer_id": the id under which each row's answer is kept}); {}: they are not."""
        given = self._given(asked, inputs)
        like = self._alike(model, asked, given)
        if like is None:
            return self._answer(model, asked, given, pause)
        return self._joined.answer(like, model, asked, given, functools.partial(self._answer, model, asked))

    def answer_on_loop(
        self, model: LoadedModel, asked: Signature, inputs: Mapping[str, ArrayLike | tf.Tensor], threads: Executor,
        seconds: float, begin: Callable[[], object] = lambda: None,
    ) -> Awaitable[Answer] | None:
        """As `answer`, on the running event loop: one of the `threads` answers those that wait together, at most
        `seconds`. It calls `begin` before. None: this request is joined with no other, and needs a thread of its own.
        """
        given = self._given(asked, inputs)
        like = self._alike(model, asked, given)
        if like is None:
            return None
        run = functools.partial(self._answer, model, asked)
        return self._joined.answer_on_loop(like, model, asked, given, run, threads, seconds, begin)

    @property
    def joins(self) -> bool:
        """Are any requests joined? A cold user's search is exact, and slow: where users get one, none are."""
        return self._features is None or not self._features.cold_beta

    def _alike(self, model: LoadedModel, asked: Signature, given: Mapping[str, np.ndarray]) -> Hashable | None:
        """See `joined_calls.alike`."""
        return alike(model, asked, given) if self.joins else None

    def _answer(
        self,
        model: LoadedModel,
        asked: Signature,
        given: Mapping[str, np.ndarray],
        pause: Callable[[], None] = lambda: None,
    ) -> Answer:
        arrays = self._filled(model, asked, given)
        outputs = self.execute(model, asked.name, arrays, pause)
        if self._answers is None:
            return outputs, {}
        users = given.get(columns.USER_ID)
        ids = self._answers.predicted(model, model.signature(asked.name), arrays, outputs, users)
        return outputs, {} if ids is None else {"answer_id": ids}

    def prepare(
        self, model: LoadedModel, asked: Signature, inputs: Mapping[str, ArrayLike | tf.Tensor]
    ) -> dict[str, np.ndarray]:
        """The arrays by name that `run` gives to the signature: checked, with the inputs that the server fills in."""
        return self._filled(model, asked, self._given(asked, inputs))

    def _given(
        self, asked: Signature, inputs: Mapping[str, ArrayLike | tf.Tensor]
    ) -> dict[str, np.ndarray]:
        """The inputs of a request as arrays by their columns' names, each of the right type and within the limits."""
        names = asked.columns
        given = {}
        for name, value in inputs.items():
            spec, array = asked.spec(name), np.asarray(value)
            self.limits.check_shape(spec, array.shape)
            given[names.get(name, name)] = checks.check_type(spec, array)
        return given

    def _filled(
        self, model: LoadedModel, asked: Signature, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        signature, arrays = model.signature(asked.name), dict(inputs)
        checks.check_sent(signature, inputs)
        if self._features is not None:
            arrays = self._features.join(model, signature, arrays)
        arrays = with_seen(model, signature, arrays)
        missing = [name for name in signature.required if name not in arrays]
        if missing:
            missing = [name for name in asked.required if name not in inputs] or missing
            asks_store = self._features is None and columns.USER_ID in inputs and {*missing} <= {*model.query_inputs}
            hint = _STORE if asks_store else ""
            received = sorted(name for name in inputs if name not in signature.defaults)  # k and its like help nothing
            raise InvalidArgument(
                f"Signature `{signature.name}` needs the inputs {missing}. Received: {received}.{hint}"
            )
        if columns.K in arrays:
            self.limits.check_k(arrays[columns.K])
        checks.check_values(model, arrays)
        return arrays

    def execute(
        self, model: LoadedModel, name: str, inputs: Mapping[str, Value], pause: Callable[[], None] = lambda: None
    ) -> dict[str, np.ndarray]:
        """Runs a signature on arrays from `prepare`, or on tensors; returns arrays by name."""
        signature = model.signature(name)

        def run(part: Mapping[str, Value]) -> dict[str, np.ndarray]:
            return {name: _array(value) for name, value in self._call(model, signature, part).items()}

        try:
            return together(blocks(model, name, inputs), run, pause)
        except tf.errors.InvalidArgumentError as error:
            raise InvalidArgument(f"The model refused the request: {_reason(error)}") from error
        except tf.errors.OpError as error:
            raise ServingError(f"The model failed: {_reason(error)}") from error


def _array(tensor: tf.Tensor) -> np.ndarray:
    """The tensor as an array. A string scalar comes as bytes, which have neither shape nor dtype."""
    value = tensor.numpy()
    return np.array(value, object) if isinstance(value, bytes) else value


def _reason(error: tf.errors.OpError) -> str:
    """The line of a graph's error message that says what was wrong, without the trace of the graph around it."""
    return (error.message.partition("\n\t [[")[0].splitlines() or [type(error).__name__])[-1]
