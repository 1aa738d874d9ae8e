"""Soft labels: a student learns to score candidates as its teacher does."""

import tensorflow as tf

from tfrs_twotower.losses.reduction import weighted_mean


def distillation(
    student: tf.Tensor, teacher: tf.Tensor, temperature: float = 1.0, mask: tf.Tensor | None = None,
    weights: tf.Tensor | None = None,
) -> tf.Tensor:
    """Mean of T² · KL(p ‖ q), p = softmax(teacher / T), q = softmax(student / T), over the same candidates.

    Reference: Hinton et al. 2015, "Distilling the knowledge in a neural network". T above 1 softens both, so that
    the student also learns the order of unlikely candidates. T² keeps the gradient's size.

    Args:
      student, teacher: float32 [batch, candidates], scores. No gradient goes to the teacher's.
      temperature: T, above 0.
      mask: bool [batch, candidates] or None; True where the candidate counts. A row without candidates adds 0.
      weights: [batch] or None; see `weighted_mean`.

    Returns:
      float32 scalar, 0 if both agree.
    """
    teacher = tf.stop_gradient(teacher)
    if mask is None:
        mask = tf.ones_like(student, tf.bool)
    log_p, log_q = _log_softmax(teacher / temperature, mask), _log_softmax(student / temperature, mask)
    p = tf.where(mask, tf.exp(log_p), 0.0)
    return weighted_mean(temperature**2 * tf.reduce_sum(p * (log_p - log_q), axis=1), weights)


def _log_softmax(scores: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """log softmax over the candidates that count; 0 at the others."""
    lowest = tf.constant(float("-inf"), scores.dtype)
    some = tf.reduce_any(mask, axis=1, keepdims=True)
    log_sum = tf.reduce_logsumexp(tf.where(mask | ~some, scores, lowest), axis=1, keepdims=True)
    return tf.where(mask, scores - log_sum, 0.0)
