"""Loss and metrics against values computed by hand."""

import common
import keras
import numpy as np
import pytest
import tensorflow as tf


def test_scores_of_a_confusion_matrix_by_hand():
    #         predicted: a  b  c
    confusion = np.array([[6, 2, 0], [1, 9, 0], [1, 1, 0]])
    scores = common.scores_from_confusion(confusion, ("a", "b", "c"))
    # a: TP 6, FP 2, FN 2.  b: TP 9, FP 3, FN 1.  c: TP 0, FP 0, FN 2.
    assert scores["iou"] == pytest.approx({"a": 6 / 10, "b": 9 / 13, "c": 0})
    assert scores["dice"] == pytest.approx({"a": 12 / 16, "b": 18 / 22, "c": 0})
    assert scores["mean_iou"] == pytest.approx((6 / 10 + 9 / 13) / 3)
    assert scores["mean_dice"] == pytest.approx((12 / 16 + 18 / 22) / 3)
    assert scores["pixel_accuracy"] == pytest.approx(15 / 20)


def test_a_class_that_never_occurs_stays_out_of_the_means():
    confusion = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    scores = common.scores_from_confusion(confusion, ("a", "b", "c"))
    assert scores["iou"]["c"] is None
    assert scores["dice"]["c"] is None
    assert scores["mean_iou"] == pytest.approx((3 / 4 + 4 / 5) / 2)


class Fixed:
    """A model that answers with the probabilities it was given, batch after batch."""

    def __init__(self, answers):
        self.answers = iter(answers)

    def predict_on_batch(self, images):
        return next(self.answers)


def test_evaluate_counts_pixels_of_every_picture():
    masks = np.array([[[0, 1], [2, 2]], [[1, 1], [1, 0]], [[2, 0], [0, 0]]], np.uint8)[..., None]
    predicted = np.array([[[0, 1], [2, 1]], [[1, 1], [0, 0]], [[2, 0], [1, 0]]])
    images = np.zeros((3, 2, 2, 3), np.float32)
    batches = tf.data.Dataset.from_tensor_slices((images, masks)).batch(2)
    probabilities = 0.1 + 0.7 * np.eye(3)[predicted]
    confusions = common.evaluate(Fixed([probabilities[:2], probabilities[2:]]), batches, 3)
    assert confusions.tolist() == [
        [[1, 0, 0], [0, 1, 0], [0, 1, 1]],
        [[1, 0, 0], [1, 2, 0], [0, 0, 0]],
        [[2, 1, 0], [0, 0, 0], [0, 0, 1]],
    ]


def test_the_metric_of_training_is_that_of_the_evaluation():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (4, 8, 8, 1), np.uint8)
    probabilities = rng.dirichlet([1, 1, 1], (4, 8, 8)).astype(np.float32)
    metric = common.mean_iou(3)
    metric.update_state(masks[:3], probabilities[:3])
    metric.update_state(masks[3:], probabilities[3:])
    batches = tf.data.Dataset.from_tensor_slices((np.zeros((4, 8, 8, 3)), masks)).batch(4)
    confusion = common.evaluate(Fixed([probabilities]), batches, 3).sum(axis=0)
    scores = common.scores_from_confusion(confusion, ("a", "b", "c"))
    assert float(metric.result()) == pytest.approx(scores["mean_iou"])


def test_loss_by_hand():
    """Two pictures of two pixels, two classes."""
    masks = np.array([[[0], [1]], [[1], [1]]], np.uint8)[:, None]
    p = np.array([[[0.8, 0.2], [0.4, 0.6]], [[0.5, 0.5], [0.1, 0.9]]], np.float32)[:, None]
    cross_entropy = -np.log([[0.8, 0.6], [0.5, 0.9]]).mean(axis=1)
    # Class 0: overlap 0.8, truth 1, predicted 1.8.  Class 1: overlap 2.0, truth 3, predicted 2.2.
    dice = 1 - np.mean([2 * 0.8 / 2.8, 2 * 2.0 / 5.2])
    loss = common.segmentation_loss(tf.constant(masks), tf.constant(p))
    np.testing.assert_allclose(loss, cross_entropy + dice, rtol=1e-5)


def test_the_loss_of_a_perfect_prediction_is_zero():
    masks = np.random.default_rng(1).integers(0, 3, (2, 6, 6, 1))
    perfect = np.eye(3, dtype=np.float32)[masks[..., 0]]
    loss = common.segmentation_loss(tf.constant(masks), tf.constant(perfect))
    np.testing.assert_allclose(loss, 0, atol=1e-5)


def test_a_class_that_is_not_there_adds_nothing_to_the_loss():
    masks = np.zeros((1, 4, 4, 1), np.uint8)
    perfect = np.eye(3, dtype=np.float32)[masks[..., 0]]
    np.testing.assert_allclose(common.segmentation_loss(masks, perfect), 0, atol=1e-5)


def test_the_schedule_rises_to_its_peak_and_ends_at_zero():
    schedule = common.warmup_cosine(0.5, 200)
    rates = [float(schedule(step)) for step in range(201)]
    assert rates[0] == 0
    assert rates[10] == max(rates) == pytest.approx(0.5)
    assert rates[105] == pytest.approx(0.25, rel=0.01)
    assert rates[200] == pytest.approx(0, abs=1e-6)
    assert float(common.warmup_cosine(0.5, 3)(0)) > 0  # too short for a warm-up


def test_nan_ends_the_training_with_a_word():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse", jit_compile=False)
    inputs = np.ones((8, 2), np.float32)
    targets = np.array([1.0] * 5 + [np.nan] * 3, np.float32)
    watch = common._StopOnNaN()
    with pytest.raises(common.UserError, match=r"nan in epoch 1, step 6: try a lower learning"):
        model.fit(inputs, targets, batch_size=1, shuffle=False, callbacks=[watch], verbose=0)
