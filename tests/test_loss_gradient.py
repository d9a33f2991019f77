"""The gradient of the loss is the same on every backend, however wrong a pixel is."""

import subprocess
import sys

import common

import keras
import numpy as np
import pytest
from conftest import ROOT, environment

CLASSES = 3
POLICIES = ["float32", "mixed_bfloat16", "mixed_float16"]
PROGRAM = """
import sys
import common, keras, numpy as np
logits, masks = np.load("logits.npy"), np.load("masks.npy")
total = lambda x, y: keras.ops.sum(common.segmentation_loss(y, x))
backend = keras.backend.backend()
found = []
for policy, x in [(policy, x) for policy in sys.argv[2:] for x in logits]:
    keras.config.set_dtype_policy(policy)
    if backend == "jax":
        import jax
        found.append(np.asarray(jax.grad(total)(x, masks)))
    elif backend == "torch":
        import torch
        x = torch.tensor(x, requires_grad=True)
        total(x, torch.tensor(masks)).backward()
        found.append(x.grad.numpy())
    else:
        import tensorflow as tf
        x = tf.Variable(x)
        with tf.GradientTape() as tape:
            loss = total(x, masks)
        found.append(tape.gradient(loss, x).numpy())
np.save(sys.argv[1], np.stack(found))
metric = common.mean_iou(logits.shape[-1])
for _ in range(2):
    metric.update_state(np.load("void.npy"), np.load("guess.npy"))
np.save("counted.npy", keras.ops.convert_to_numpy(metric.total_cm))
"""


def loss_by_hand(logits, masks):
    """Cross-entropy of each picture, and Dice of the batch with each, in float64."""
    truth = np.eye(CLASSES)[masks[..., 0]]
    largest = logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(logits - largest)
    p = exponentials / exponentials.sum(axis=-1, keepdims=True)
    log_p = logits - largest - np.log(exponentials.sum(axis=-1, keepdims=True))
    overlap = (truth * p).sum(axis=(0, 1, 2))
    dice = 1 - 2 * overlap / (truth.sum(axis=(0, 1, 2)) + p.sum(axis=(0, 1, 2)))
    return -(truth * log_p).sum() / masks[0].size + len(masks) * dice.mean()


def gradient_by_hand(logits, masks, step=1e-5):
    gradient = np.zeros(logits.shape)
    for index in np.ndindex(*logits.shape):
        change = np.zeros(logits.shape)
        change[index] = step
        gradient[index] = loss_by_hand(logits + change, masks)
        gradient[index] -= loss_by_hand(logits - change, masks)
    return gradient / (2 * step)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_gradient_and_confusion_are_those_of_numpy(tmp_path, monkeypatch, backend):
    """Of pixels that are wrong by 0, 10, 30 and 100 logits, cross-entropy's is softmax - truth."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, CLASSES, (2, 4, 4, 1), np.uint8)
    wrong = np.eye(CLASSES)[(masks[..., 0] + 1) % CLASSES]
    logits = np.float32([size * wrong for size in (0, 10, 30, 100)])
    np.save(tmp_path / "logits.npy", logits)
    np.save(tmp_path / "masks.npy", masks)
    guess, void = rng.normal(size=logits[0].shape).astype(np.float32), masks.copy()
    void[0, :2] = common.VOID
    np.save(tmp_path / "guess.npy", guess)
    np.save(tmp_path / "void.npy", void)
    arguments = [str(tmp_path / "out.npy"), *POLICIES]
    if backend == keras.backend.backend():
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["", *arguments])
        try:
            exec(PROGRAM, {})
        finally:
            keras.config.set_dtype_policy("float32")
    else:  # a backend takes a process of its own
        command = [sys.executable, "-c", PROGRAM, *arguments]
        settings = environment(backend) | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    confusion = np.zeros((CLASSES, CLASSES))
    known = void[..., 0] != common.VOID
    np.add.at(confusion, (masks[..., 0][known], guess.argmax(-1)[known]), 2)  # given twice
    np.testing.assert_array_equal(np.load(tmp_path / "counted.npy"), confusion)
    wanted = [gradient_by_hand(x, masks) for x in logits.astype(float)]
    all_found = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(all_found, wanted * len(POLICIES), rtol=1e-3, atol=1e-7)
    # Sixteen pixels a picture: a surely wrong one is pulled with all that it has.
    truth = np.eye(CLASSES)[masks[..., 0]]
    np.testing.assert_allclose((all_found[-1] * truth).sum(axis=-1), -1 / 16, rtol=1e-3)
