"""The retrieval task: in-batch sampled softmax with one correction for sampling, and masks."""

import functools

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.losses import sampled_softmax
from tfrs_twotower.models.temperature import FixedTemperature, Temperature
from tfrs_twotower.sampling import same_item, user_positives


class Retrieval(tfrs.tasks.Retrieval):
    """`tfrs.tasks.Retrieval` with a corrected, masked, mean-reduced softmax.

    It takes the place of TFRS's task in any `tfrs.Model`: `call` has the same positional arguments. What
    differs:

    - the loss is the mean over the batch, not the sum;
    - the score is s' = ⟨u, v⟩ / τ − log Q, for the positive as for the negatives (Yi et al. 2019). Q is how
      often the candidate is expected in the batch; there is no floor under it (TFRS clips at 1e-6);
    - masked candidates are left out by a boolean mask. A row's own positive always counts;
    - there is no label matrix unless a batch metric asks for one.

    With accidental hits removed, the gradient of an example points where the full softmax's does (for many
    negatives), but is scaled by (1 − P')/(1 − P): P and P' are the positive's probability under the full and
    the sampled softmax (Khrylchenko et al. 2025). With hits left in, it approaches the full softmax's.
    """

    def __init__(
        self,
        *,
        metrics=None,
        batch_metrics=None,
        loss_metrics=None,
        temperature=0.05,
        logq=None,
        remove_accidental_hits=True,
        name=None,
    ):
        """Initialises the task.

        Args:
          metrics: `tfrs.metrics.FactorizedTopK`, or a list of them.
          batch_metrics: Keras metrics of (labels [batch, candidates], corrected scores).
          loss_metrics: Keras metrics of the loss.
          temperature: τ as a number, or `FixedTemperature` or `LearnedTemperature`.
          logq: an estimator of `sampling` (`NoCorrection`, `StaticCorrection`, `StreamingCorrection`); `call`
            must then get `candidate_ids`. None for no correction.
          remove_accidental_hits: leave out other rows' candidates that are this row's positive. `call` must
            then get `candidate_ids`.
          name: the layer's name.
        """
        super().__init__(
            metrics=metrics,
            batch_metrics=batch_metrics,
            loss_metrics=loss_metrics,
            remove_accidental_hits=remove_accidental_hits,
            name=name,
        )
        self._autocast = False  # under mixed precision, scores are float32
        if isinstance(temperature, (int, float)):
            temperature = FixedTemperature(float(temperature))
        self.temperature = Temperature(temperature)
        self.logq = logq

    def call(
        self,
        query_embeddings,
        candidate_embeddings,
        sample_weight=None,
        candidate_sampling_probability=None,
        candidate_ids=None,
        compute_metrics=True,
        compute_batch_metrics=True,
        score_mask=None,
        known_positives=None,
        training=None,
    ):
        """Computes the loss, and updates the metrics.

        Args:
          query_embeddings: [queries, dim], or [queries, interests, dim]: the best interest counts.
          candidate_embeddings: [candidates, dim], candidates ≥ queries. Candidate i is query i's positive;
            those beyond are negatives of all queries.
          sample_weight: [queries]; see `losses.sampled_softmax`.
          candidate_sampling_probability: [candidates], above 0: a correction computed elsewhere, in place of
            `logq`.
          candidate_ids: int or string [candidates]. As in TFRS, factorized metrics given ids compare ids.
          compute_metrics: whether to update the factorized metrics (slow).
          compute_batch_metrics: whether to update the batch metrics.
          score_mask: bool [queries, candidates], True where the candidate may count for the query.
          known_positives: [queries, any] ids of the same type as `candidate_ids`, padded with −1 or "": what
            else the query's user is known to like, left out of the query's negatives.
          training: True or False; only a streaming `logq` reads it. It learns when True, and must be told.

        Returns:
          float32 scalar.
        """
        queries, candidates = tf.cast(query_embeddings, tf.float32), tf.cast(candidate_embeddings, tf.float32)
        batch_size = tf.shape(queries)[0]
        log_expected = self._log_expected_count(
            candidate_sampling_probability, candidate_ids, batch_size, training
        )
        scores = self._corrected_scores(queries, candidates, log_expected)
        mask = self._mask(candidate_ids, known_positives, score_mask, batch_size)
        loss = sampled_softmax(scores, mask, sample_weight)
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
        if compute_batch_metrics and self._batch_metrics:
            labels = tf.eye(batch_size, tf.shape(scores)[1])
            if mask is not None:  # not with −inf, which Keras' top-k metrics refuse
                scores = tf.where(tf.logical_or(mask, labels > 0), scores, scores.dtype.min)
            for metric in self._batch_metrics:
                metric.update_state(labels, scores, sample_weight=sample_weight)
        return loss

    def _corrected_scores(self, queries, candidates, log_expected):
        """⟨u, v⟩ / τ − log Q, [queries, candidates]: the one place where scores are corrected.

        Whatever brought a candidate into the batch, `log_expected` [candidates] says how often it was to be
        expected there, all sources summed.
        """
        queries = queries / self.temperature.value()  # [queries, dim] is smaller than the scores
        if queries.shape.rank == 3:
            scores = tf.reduce_max(tf.einsum("qid,cd->qic", queries, candidates), axis=1)
        else:
            scores = tf.linalg.matmul(queries, candidates, transpose_b=True)
        return scores if log_expected is None else scores - log_expected

    def _log_expected_count(self, probability, candidate_ids, batch_size, training):
        """log Q [candidates], or None where nothing corrects."""
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
        return tf.stop_gradient(self.logq.log_expected_count(candidate_ids, batch_size, training))

    def _mask(self, candidate_ids, known_positives, score_mask, batch_size):
        """bool [queries, candidates], True where a candidate counts; None where all do."""
        hidden = []
        if self._remove_accidental_hits:
            _require(candidate_ids, "`remove_accidental_hits` is on", "construct the task without it")
            hidden.append(same_item(candidate_ids, candidate_ids[:batch_size]))
        if known_positives is not None:
            _require(candidate_ids, "`known_positives` are given", "give no `known_positives`")
            hidden.append(user_positives(candidate_ids, known_positives))
        if score_mask is not None:
            hidden.append(tf.logical_not(score_mask))
        if not hidden:
            return None
        return tf.logical_not(functools.reduce(tf.logical_or, hidden))


_NOT_POSITIVE = "`candidate_sampling_probability` must be above 0: smooth the counts (+1)."


def _require(candidate_ids, because, otherwise):
    if candidate_ids is None:
        raise ConfigError(
            f"`candidate_ids` must be given when {because}. Received: None. Pass the ids, or {otherwise}."
        )
