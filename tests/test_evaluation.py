"""Loss and metrics against values computed by hand."""

import http.server
import threading
import time

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


def test_nan_ends_the_training_with_a_word(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse", jit_compile=False)
    inputs = np.ones((8, 2), np.float32)
    targets = np.array([1.0] * 5 + [np.nan] * 3, np.float32)
    watch = common._Watch(tmp_path)
    with pytest.raises(common.UserError, match=r"nan in epoch 1, step 6: try a lower learning"):
        model.fit(inputs, targets, batch_size=1, shuffle=False, callbacks=[watch], verbose=0)


@pytest.fixture
def server():
    """A web server that answers 403, or nothing at all to /silent."""
    ends = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/silent":
                ends.wait(30)
            else:
                self.send_error(403)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}"
        ends.set()
        web.shutdown()


def test_a_server_that_answers_is_a_network(server, monkeypatch):
    common.check_network(f"{server}/forbidden")
    monkeypatch.setenv("http_proxy", server)  # asked in place of a host that does not exist
    common.check_network("http://nowhere.invalid/")


def test_silence_and_refusal_are_no_network(server):
    begin = time.perf_counter()
    with pytest.raises(OSError, match="/silent"):
        common.check_network(f"{server}/silent", seconds=1)
    assert time.perf_counter() - begin < 10
    with pytest.raises(OSError, match="refused"):
        common.check_network("http://127.0.0.1:9/")


def test_runs_get_folders_of_their_own_even_within_a_second(tmp_path):
    folders = [common._new_folder(tmp_path / "runs") for _ in range(3)]
    assert len(set(folders)) == 3


def test_a_results_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "runs").write_text("a file in the way")
    with pytest.raises(common.UserError, match=r"--runs-dir: cannot make .*runs"):
        common._new_folder(tmp_path / "runs" / "unet")
    (tmp_path / "gone").symlink_to(tmp_path / "unmounted")
    with pytest.raises(common.UserError, match=r"--runs-dir: cannot make .*gone"):
        common._new_folder(tmp_path / "gone")
