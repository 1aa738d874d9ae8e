"""Distillation against values written by hand."""

import math

import pytest
import tensorflow as tf

from tfrs_twotower.losses import distillation

LOG = math.log
TEACHER = tf.constant([[LOG(3.0), 0.0], [0.0, 0.0]])  # p: 3/4 and 1/4; 1/2 and 1/2
STUDENT = tf.constant([[0.0, 0.0], [LOG(4.0), 0.0]])  # q: 1/2 and 1/2; 4/5 and 1/5
FIRST = 0.75 * LOG(0.75 / 0.5) + 0.25 * LOG(0.25 / 0.5)
SECOND = 0.5 * LOG(0.5 / 0.8) + 0.5 * LOG(0.5 / 0.2)


def test_it_is_the_divergence_of_the_student_from_the_teacher():
    assert float(distillation(STUDENT, TEACHER)) == pytest.approx((FIRST + SECOND) / 2, rel=1e-6)
    weighted = distillation(STUDENT, TEACHER, weights=tf.constant([3.0, 1.0]))
    assert float(weighted) == pytest.approx((3 * FIRST + SECOND) / 4, rel=1e-6)


def test_temperature_softens_both_and_keeps_the_size():
    # At T = 2 the first row's p is √3 : 1.
    share = math.sqrt(3) / (math.sqrt(3) + 1)
    expected = share * LOG(share / 0.5) + (1 - share) * LOG((1 - share) / 0.5)
    assert float(distillation(STUDENT[:1], TEACHER[:1], temperature=2.0)) == pytest.approx(4 * expected, rel=1e-6)


def test_masked_candidates_do_not_count():
    teacher = tf.concat([TEACHER, [[9.0], [-9.0]]], axis=1)
    student = tf.concat([STUDENT, [[-7.0], [7.0]]], axis=1)
    mask = tf.constant([[True, True, False], [True, True, False]])
    assert float(distillation(student, teacher, mask=mask)) == pytest.approx((FIRST + SECOND) / 2, rel=1e-6)
    nothing = tf.constant([[True, True, False], [False, False, False]])
    assert float(distillation(student, teacher, mask=nothing)) == pytest.approx(FIRST / 2, rel=1e-6)


def test_an_equal_student_has_neither_loss_nor_gradient_and_the_teacher_never_has_one():
    student, teacher = tf.Variable([[1.0, 2.0, 4.0]]), tf.Variable([[3.0, 4.0, 6.0]])  # equal but for a constant
    mask = tf.constant([[True, True, False]])
    with tf.GradientTape() as tape:
        loss = distillation(student, teacher, temperature=3.0, mask=mask)
    of_student, of_teacher = tape.gradient(loss, [student, teacher])
    assert float(loss) == pytest.approx(0.0, abs=1e-6) and of_teacher is None
    assert tf.reduce_max(tf.abs(of_student)) < 1e-6


def test_the_gradient_of_a_student_is_its_share_less_the_teachers():
    student = tf.Variable(STUDENT[:1])
    with tf.GradientTape() as tape:
        loss = distillation(student, TEACHER[:1])
    # q − p: 1/2 − 3/4 and 1/2 − 1/4.
    assert tape.gradient(loss, student).numpy()[0].tolist() == pytest.approx([-0.25, 0.25], rel=1e-5)
