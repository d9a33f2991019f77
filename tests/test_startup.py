"""One line in place of a traceback."""

import random
import signal
import subprocess
import sys
import time

from support.runtime import startup

import pytest
import tensorflow as tf
from conftest import ROOT, environment, start_script


@pytest.mark.slow
def test_ctrl_c_while_tensorflow_is_imported_ends_quietly(tmp_path):
    """Nothing has begun yet, so there is nothing to tell."""
    # A shell's background jobs ignore Ctrl-C, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start_script("Unet-keras", "--dataset", "synthetic", cwd=tmp_path)
    signal.signal(signal.SIGINT, before)
    time.sleep(random.SystemRandom().uniform(0.5, 1.5))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + signal.SIGINT, "", "")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),  # JAX
        RuntimeError("CUDA out of memory. Tried to allocate 9 MiB."),  # PyTorch
    ],
)
def test_too_little_memory_is_told(monkeypatch, error):
    def main():
        raise error

    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(sys, "argv", ["Unet-keras.py"])
    with pytest.raises(startup.UserError, match=r"Out of memory on .*--batch-size"):
        startup.launch(main)
    monkeypatch.setattr(sys, "argv", ["Unet-keras.py", "--predict", "photo.jpg"])
    with pytest.raises(startup.UserError, match=r"Out of memory on .*smaller photos"):
        startup.launch(main)


@pytest.mark.parametrize(
    ("backend", "before", "told"),
    [
        ("numpy", "", "KERAS_BACKEND=numpy cannot train: it may be tensorflow, jax or torch"),
        ("jax", "sys.modules['jax'] = None; ", "jax is not installed: pip install jax, or"),
    ],
)
def test_a_backend_that_is_not_there_is_told(backend, before, told):
    command = [sys.executable, "-c", f"import sys; {before}import common"]
    options = {"capture_output": True, "text": True, "timeout": 120}
    process = subprocess.run(command, cwd=ROOT, env=environment(backend), **options)
    assert process.returncode == 1
    assert process.stderr.startswith(told)
    assert process.stderr.count("\n") == 1


def test_bugs_keep_their_traceback(monkeypatch):
    def main():
        raise RuntimeError("a bug")

    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    with pytest.raises(RuntimeError, match="a bug"):
        startup.launch(main)


@pytest.mark.slow
def test_the_users_keras_json_does_not_change_what_is_trained(tmp_path):
    (tmp_path / "keras.json").write_text(
        '{"floatx": "float16", "epsilon": 1e-3, "image_data_format": "channels_first"}'
    )
    ask = "import common, keras.config as c; print(c.floatx(), c.epsilon(), c.image_data_format())"
    process = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=ROOT,
        env=environment("tensorflow") | {"KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.stdout == "float32 1e-07 channels_last\n"
    assert process.stderr == ""


def test_what_the_disk_refuses_is_told_with_how_to_go_on(monkeypatch):
    def main():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    with pytest.raises(startup.UserError, match=r"No space .*\nIs the disk full.* goes on after"):
        startup.launch(main)
