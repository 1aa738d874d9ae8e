"""The retrieval task: a loss over sampled candidates, with one correction for sampling, and masks."""

import functools
import numbers
from collections.abc import Callable, Sequence
from typing import Literal

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import is_missing
from tfrs_twotower.losses import FullSoftmax, Loss, SampledSoftmax, softmax_in_blocks
from tfrs_twotower.models.temperature import (
    FixedTemperature,
    LearnedTemperature,
    ScheduledTemperature,
    build_temperature,
)
from tfrs_twotower.sampling import NoCorrection, StaticCorrection, StreamingCorrection, same_item, user_positives

_BLOCK_SCORES = 2**20  # scores of a block: 4 MB, which a processor's cache holds


class Retrieval(tfrs.tasks.Retrieval):
    """`tfrs.tasks.Retrieval` with any loss, a correction that holds for any catalogue size, and masks.

    It replaces TFRS's task in any `tfrs.Model`: `call` has the same positional arguments, and `Retrieval(metrics=...)`
    trains like TFRS's task. The differences:

    - the score is s' = ⟨u, v⟩ / τ − log Q, for positives and negatives (Yi et al. 2019). Q is the expected count
      of the candidate in the batch; there is no floor under it (TFRS clips at 1e-6);
    - masked candidates are left out by a boolean mask. A row's own positive always counts;
    - there is no label matrix unless a batch metric needs one, and the softmax takes queries in blocks;
    - any loss of `losses` can replace the softmax, and the other rows' positives need not be negatives.

    With accidental hits removed and many negatives, the gradient of the sampled softmax has the direction of the full
    softmax's. But it is scaled by (1 − P')/(1 − P): P and P' are the positive's probability under the full and the
    sampled softmax (Khrylchenko et al. 2025). With hits left in, or by `RefinedSampledSoftmax`, it approaches the full
    softmax's.
    """

    def __init__(
        self,
        *,
        metrics: tfrs.metrics.FactorizedTopK | Sequence[tfrs.metrics.FactorizedTopK] | None = None,
        batch_metrics: Sequence[tf.keras.metrics.Metric] | None = None,
        loss_metrics: Sequence[tf.keras.metrics.Metric] | None = None,
        temperature: float | FixedTemperature | ScheduledTemperature | LearnedTemperature = 1.0,
        logq: NoCorrection | StaticCorrection | StreamingCorrection | None = None,
        remove_accidental_hits: bool = False,
        loss: Loss = SampledSoftmax(),
        in_batch: bool = True,
        reduction: Literal["sum", "mean"] = "sum",
        name: str | None = None,
    ) -> None:
        """Initialises the task.

        Args:
          metrics: `tfrs.metrics.FactorizedTopK`, or a list of them.
          batch_metrics: Keras metrics of (labels [batch, candidates], corrected scores).
          loss_metrics: Keras metrics of the loss.
          temperature: τ: a number, None for 1, `FixedTemperature`, `ScheduledTemperature` or `LearnedTemperature`.
          logq: an estimator of `sampling` (`NoCorrection`, `StaticCorrection`, `StreamingCorrection`); `call`
            must then get `candidate_ids`. None for no correction.
          remove_accidental_hits: leave out other rows' candidates that are this row's positive. `call` must
            then get `candidate_ids`.
          loss: a configuration of `losses`, such as `SampledSoftmax()` or `TripletHinge(margin=0.2)`.
          in_batch: whether the other rows' positives are negatives of a row.
          reduction: "sum" of the rows' weighted losses, as in TFRS, or "mean", Σ w·l / Σ w. The learning rates of
            Adagrad or SGD for the two differ by a factor of the batch size.
          name: the layer's name.

        Raises:
          ConfigError: `reduction` is neither.
        """
        if reduction not in ("sum", "mean"):
            raise ConfigError(invalid("reduction", 'be "sum" or "mean"', reduction, "Name one of them."))
        super().__init__(
            metrics=metrics,
            batch_metrics=batch_metrics,
            loss_metrics=loss_metrics,
            remove_accidental_hits=remove_accidental_hits,
            name=name,
        )
        self._autocast = False  # under mixed precision, scores are float32
        if not isinstance(loss, Loss) or isinstance(loss, FullSoftmax):
            rule = "be a loss over sampled candidates of this package, or a subclass of `Loss`"
            raise ConfigError(invalid("loss", rule, loss, "Write for example loss=SampledSoftmax()."))
        if temperature is None or isinstance(temperature, (numbers.Real, float)):  # NumPy's are Real as well
            temperature = FixedTemperature(1.0 if temperature is None else float(temperature))
        self.temperature = build_temperature(temperature)
        self.logq = logq
        self.loss = loss
        self._in_batch = in_batch
        self._reduction = reduction

    def call(
        self,
        query_embeddings: tf.Tensor,
        candidate_embeddings: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        candidate_sampling_probability: tf.Tensor | None = None,
        candidate_ids: tf.Tensor | None = None,
        compute_metrics: bool = True,
        compute_batch_metrics: bool = True,
        score_mask: tf.Tensor | None = None,
        known_positives: tf.Tensor | None = None,
        training: bool | None = None,
        own_embeddings: tf.Tensor | None = None,
        own_ids: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes the loss, and updates the metrics.

        Args:
          query_embeddings: [queries, dim], or [queries, interests, dim]: the best interest counts.
          candidate_embeddings: [candidates, dim], candidates ≥ queries. Candidate i is query i's positive;
            further candidates are negatives of all queries.
          sample_weight: [queries] or [queries, 1]; see `losses.sampled_softmax`.
          candidate_sampling_probability: [candidates], above 0: the expected count of each candidate, computed
            elsewhere, in place of `logq`.
          candidate_ids: int or string [candidates]. As in TFRS, factorized metrics given ids compare ids.
          compute_metrics: whether to update the factorized metrics (slow).
          compute_batch_metrics: whether to update the batch metrics.
          score_mask: bool [queries, candidates], True where the candidate may count for the query.
          known_positives: [queries, any] ids of the same type as `candidate_ids`, padded with −1 or "": other
            items that the query's user likes. They are no negatives of the query.
          training: True or False; a streaming `logq` needs it. If True, the streaming `logq` learns and a
            scheduled temperature advances.
          own_embeddings: [queries, own, dim]: further negatives, each of one query alone. They are chosen, not
            sampled, so they are not corrected.
          own_ids: [queries, own], of the same type as `candidate_ids`; −1 or "" pads.

        Returns:
          float32 scalar.
        """
        queries, candidates = tf.cast(query_embeddings, tf.float32), tf.cast(candidate_embeddings, tf.float32)
        batch_size = tf.shape(queries)[0]
        if sample_weight is not None:
            sample_weight = tf.reshape(sample_weight, [batch_size])
        log_expected = self._log_expected_count(
            candidate_sampling_probability, candidate_ids, batch_size, training
        )
        hidden = self._hidden(candidate_ids, known_positives, score_mask, batch_size)
        batch_metrics = self._batch_metrics if compute_batch_metrics else ()
        plain = queries.shape.rank == 2 and own_embeddings is None and not batch_metrics
        if plain and type(self.loss) is SampledSoftmax:  # a subclass is to be called with scores
            loss = self._in_blocks(queries, candidates, log_expected, hidden, sample_weight)
        else:
            scores, log_expected, mask, positive = self._all_scores(queries, candidates, log_expected, hidden)
            if own_embeddings is not None:
                _require(candidate_ids, "`own_embeddings` are given", "give no `own_embeddings`")
                own = self._scores(queries, tf.cast(own_embeddings, tf.float32))
                own_hidden = _own_hidden(
                    own_ids, candidate_ids[:batch_size], known_positives  # type: ignore[index]  # goes with `own_ids`
                )
                scores, mask, log_expected = _beside(
                    scores, mask, log_expected, own, tf.logical_not(own_hidden), None if log_expected is None else 0.0
                )
            loss = self.loss(scores, log_expected, mask, sample_weight, positive)  # a mean
        if self._reduction == "sum":
            weights = tf.ones([batch_size]) if sample_weight is None else sample_weight
            loss *= tf.reduce_sum(tf.cast(weights, loss.dtype))
        if training:
            self.temperature.advance()
        for metric in self._loss_metrics:
            metric.update_state(loss)
        if compute_metrics and queries.shape.rank == 2:
            for metric in self._factorized_metrics:
                metric.update_state(
                    queries,
                    candidates[:batch_size],
                    true_candidate_ids=None if candidate_ids is None else candidate_ids[:batch_size],
                    sample_weight=sample_weight,
                )
        if batch_metrics:
            labels = tf.one_hot(positive, tf.shape(scores)[1])
            if log_expected is not None:
                scores -= log_expected
            if mask is not None:  # not with −inf, which Keras' top-k metrics refuse
                scores = tf.where(tf.logical_or(mask, labels > 0), scores, scores.dtype.min)
            for metric in batch_metrics:
                metric.update_state(labels, scores, sample_weight=sample_weight)
        return loss

    def _in_blocks(
        self, queries: tf.Tensor, candidates: tf.Tensor, log_expected: tf.Tensor | None,
        hidden: Callable[[slice, slice], tf.Tensor] | None, sample_weight: tf.Tensor | None,
    ) -> tf.Tensor:
        """The sampled softmax, without ever holding all scores."""
        count = tf.shape(queries)[0]
        columns = self._columns(count)

        def hide(part: slice, scores: tf.Tensor) -> tf.Tensor:
            return tf.where(hidden(part, columns), float("-inf"), scores)  # type: ignore[misc]  # only if there are

        return softmax_in_blocks(
            queries / self.temperature.value(), candidates[:count], candidates[columns],
            block=tf.clip_by_value(_BLOCK_SCORES // tf.shape(candidates)[0], 16, 1024),
            own=tf.range(count) if self._in_batch else None, weights=sample_weight,
            log_expected=None if log_expected is None else (log_expected[:count], log_expected[columns]),
            hide=None if hidden is None else hide,
        )

    def _all_scores(
        self, queries: tf.Tensor, candidates: tf.Tensor, log_expected: tf.Tensor | None,
        hidden: Callable[[slice, slice], tf.Tensor] | None,
    ) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor | None, tf.Tensor]:
        """(scores, log Q, mask, the column of each query's positive)"""
        count = tf.shape(queries)[0]
        columns, positive = self._columns(count), tf.range(count)
        scores = self._scores(queries, candidates[columns])
        mask = None if hidden is None else tf.logical_not(hidden(slice(None), columns))
        if not self._in_batch:  # each query's positive is then the first column
            of_positive = self._scores(queries, candidates[:count, tf.newaxis])
            scores, mask, log_expected = _beside(
                of_positive, None, None if log_expected is None else log_expected[:count, tf.newaxis],
                scores, mask, None if log_expected is None else log_expected[count:],
            )
            positive = tf.zeros_like(positive)
        return scores, log_expected, mask, positive

    def _columns(self, batch_size: tf.Tensor) -> slice:
        """The candidates that all queries share."""
        return slice(0 if self._in_batch else batch_size, None)

    def _scores(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """⟨u, v⟩ / τ, [queries, candidates]; candidates: [candidates, dim], or [queries, any, dim] per query."""
        queries = queries / self.temperature.value()  # [queries, dim] is smaller than the scores
        if queries.shape.rank == 3:
            product = "qid,qcd->qic" if candidates.shape.rank == 3 else "qid,cd->qic"
            return tf.reduce_max(tf.einsum(product, queries, candidates), axis=1)
        if candidates.shape.rank == 3:
            return tf.einsum("qd,qcd->qc", queries, candidates)
        return tf.linalg.matmul(queries, candidates, transpose_b=True)

    def _log_expected_count(
        self, probability: tf.Tensor | None, candidate_ids: tf.Tensor | None, batch_size: tf.Tensor,
        training: bool | None,
    ) -> tf.Tensor | None:
        """log Q [candidates], or None without a correction."""
        if probability is not None:
            if self.logq is not None:
                raise ConfigError(
                    "`candidate_sampling_probability` and the task's `logq` both correct the score. Give one."
                )
            tf.debugging.assert_positive(probability, _NOT_POSITIVE)
            return tf.math.log(tf.cast(probability, tf.float32))
        if self.logq is None:
            return None
        _require(candidate_ids, "`logq` corrects", "give no `logq`")
        log_expected = self.logq.log_expected_count(candidate_ids, batch_size, training)
        return None if log_expected is None else tf.stop_gradient(log_expected)

    def _hidden(
        self, candidate_ids: tf.Tensor | None, known_positives: tf.Tensor | None, score_mask: tf.Tensor | None,
        batch_size: tf.Tensor,
    ) -> Callable[[slice, slice], tf.Tensor] | None:
        """(queries, candidates) → bool, True where a candidate does not count for a query; None if all count."""
        masks: list[Callable[[slice, slice], tf.Tensor]] = []
        if self._remove_accidental_hits:
            _require(candidate_ids, "`remove_accidental_hits` is on", "construct the task without it")
            masks.append(lambda rows, columns: same_item(
                candidate_ids[columns], candidate_ids[:batch_size][rows]  # type: ignore[index]  # required above
            ))
        if known_positives is not None:
            _require(candidate_ids, "`known_positives` are given", "give no `known_positives`")
            masks.append(lambda rows, columns: user_positives(
                candidate_ids[columns], known_positives[rows]  # type: ignore[index]  # required above
            ))
        if score_mask is not None:
            masks.append(lambda rows, columns: tf.logical_not(score_mask[rows, columns]))
        if not masks:
            return None
        return lambda rows, columns: functools.reduce(tf.logical_or, [mask(rows, columns) for mask in masks])


def _own_hidden(own_ids: tf.Tensor, positive_ids: tf.Tensor, known_positives: tf.Tensor | None) -> tf.Tensor:
    """bool [queries, own]: padding, the row's own positive, and other items that its user likes."""
    hidden = tf.logical_or(is_missing(own_ids), own_ids == positive_ids[:, tf.newaxis])
    if known_positives is not None:
        liked = tf.reduce_any(own_ids[:, :, tf.newaxis] == known_positives[:, tf.newaxis], axis=2)
        hidden = tf.logical_or(hidden, liked)
    return hidden


def _beside(
    scores: tf.Tensor, mask: tf.Tensor | None, log_expected: tf.Tensor | None, more: tf.Tensor,
    more_mask: tf.Tensor | None, more_log_expected: float | tf.Tensor | None,
) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor | None]:
    """(scores, mask, log Q) of two sets of candidates side by side; a mask of None lets all count."""
    if mask is not None or more_mask is not None:
        both = ((scores, mask), (more, more_mask))
        mask = tf.concat([tf.ones_like(s, tf.bool) if m is None else m for s, m in both], axis=1)
    if log_expected is not None:
        both = ((scores, log_expected), (more, more_log_expected))
        log_expected = tf.concat([tf.broadcast_to(q, tf.shape(s)) for s, q in both], axis=1)
    return tf.concat([scores, more], axis=1), mask, log_expected


_NOT_POSITIVE = "`candidate_sampling_probability` must be above 0: smooth the counts (+1)."


def _require(candidate_ids: tf.Tensor | None, because: str, otherwise: str) -> None:
    if candidate_ids is None:
        raise ConfigError(
            f"`candidate_ids` must be given when {because}. Received: None. Pass the ids, or {otherwise}."
        )
