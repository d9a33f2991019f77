"""What importing changes and what `launch` does: a line in place of a traceback."""

import builtins
import errno
import io
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

from support.runtime import details, startup
from support.runtime.files import lock

import matplotlib
import pytest
import tensorflow as tf
from conftest import ROOT, environment, run_code


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),  # JAX
        RuntimeError("CUDA out of memory. Tried to allocate 9 MiB."),  # PyTorch
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
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
        ("jax ", "sys.modules['jax'] = None; ", "jax is not installed: pip install jax, or"),
    ],
)
def test_a_backend_that_is_not_there_is_told(backend, before, told):
    command = [sys.executable, "-c", f"import sys; {before}import common"]
    options = {"capture_output": True, "text": True, "timeout": 120}
    process = subprocess.run(command, cwd=ROOT, env=environment(backend), **options)
    assert process.returncode == 1
    last = process.stderr.splitlines()[-1]
    assert last.partition(": ")[2].startswith(told)
    assert "During handling" not in process.stderr


# Whether TensorFlow computes with oneDNN: only newer processors have it from TensorFlow itself.
ONEDNN = """
import os
from tensorflow.python.util import _pywrap_util_port as port
print(port.IsMklEnabled(), os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
def test_told_to_stop_it_says_so_while_others_are_kept_quiet_and_loses_nothing_that_was_printed():
    code = (
        "import os, signal, sys; import common; from support.runtime.details import quiet\n"
        "def main():\n"
        "    print('Epoch 1')\n"
        "    with quiet(2):\n"
        "        os.write(2, b'of a converter')\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "common.launch(main)"
    )
    process = run_code(code, PYTHONUNBUFFERED=None)
    assert (process.returncode, process.stdout) == (128 + signal.SIGTERM, "Epoch 1\n")
    assert process.stderr.split("\n")[1:] == [
        "Stopped. The same command, given again, goes on after the last finished epoch.",
        "",
    ]


def test_a_notebook_whose_output_is_no_file_can_launch(monkeypatch):
    class Output(io.TextIOBase):
        def write(self, text):
            return len(text)

    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Output())
    called = []
    startup.launch(lambda: called.append(True))
    assert called


def test_bugs_keep_their_traceback(monkeypatch):
    def main():
        raise RuntimeError("a bug")

    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    with pytest.raises(RuntimeError, match="a bug"):
        startup.launch(main)


ASK = """
import signal, sys
import keras, matplotlib

def hooks():
    layers, signals = keras.layers, (signal.SIGINT, signal.SIGTERM)
    return [sys.excepthook, layers.BatchNormalization.call, *map(signal.getsignal, signals)]

def ask():
    config = keras.config
    print(config.floatx(), config.epsilon(), config.image_data_format())
    print(matplotlib.rcParams["text.parse_math"])

before = hooks()
import common
assert hooks() == before
ask()
common.launch(ask)
"""
ASK += ONEDNN


@pytest.mark.slow
def test_only_launch_changes_settings_of_the_whole_process(tmp_path):
    """A notebook that imports `common` keeps its own; a script trains the same for every user.

    Who wants no oneDNN keeps that, too.
    """
    (tmp_path / "keras.json").write_text(
        '{"floatx": "float16", "epsilon": 1e-3, "image_data_format": "channels_first"}'
    )
    process = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=ROOT,
        env=environment("tensorflow") | {"KERAS_HOME": str(tmp_path), "TF_ENABLE_ONEDNN_OPTS": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    kept, changed = "float16 0.001 channels_first\nTrue\n", "float32 1e-07 channels_last\nFalse\n"
    told = f"{kept}{changed}False 0\n"
    assert (process.stdout, process.returncode) == (told, 0), process.stderr


def test_what_the_disk_refuses_is_told_with_how_to_go_on(monkeypatch):
    def main():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    with pytest.raises(
        startup.UserError, match=r"No space .*\nThe disk is full.* goes on after"
    ) as told:
        startup.launch(main)
    written = Path(told.value.code.rpartition("details: ")[2].removesuffix(")")).read_text()
    assert "Traceback" in written
    assert "in main" in written
    assert "Held back before:" in written


def test_what_is_held_back_is_in_the_details():
    with details.quiet(2):
        os.write(2, b"Could not load dynamic library 'libcudart.so'\n")
    path = Path(details.write_details().removeprefix("details: "))
    assert "Could not load dynamic library 'libcudart.so'" in path.read_text()


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES])
def test_of_other_errors_of_files_nothing_is_said_that_nobody_knows(monkeypatch, number):
    def main():
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    with pytest.raises(startup.UserError) as told:
        startup.launch(main)
    assert "full" not in told.value.code


@pytest.mark.parametrize(
    ("flags", "status", "told"),
    [
        (["--help"], 0, "IMAGE"),
        (["--epoch", "3"], 2, "unrecognized arguments: --epoch 3"),
        (["--batch-size", "0"], 2, "--batch-size 0 cannot work"),
        (["--pretrained", "nowhere"], 2, "--pretrained 'nowhere' cannot work"),
    ],
)
@pytest.mark.parametrize("script", ["FCN-keras", "Unet-keras", "U2Net-keras"])
def test_help_and_wrong_flags_are_answered_early(script, flags, status, told):
    """A stand-in for TensorFlow that ends the program is never met."""
    block = "import sys, runpy; sys.modules['tensorflow'] = sys.modules['keras'] = None; "
    block += "sys.argv = sys.argv[1:]; import __main__; __main__.__file__ = sys.argv[0]; "
    block += "runpy.run_path(sys.argv[0])"
    command = [sys.executable, "-c", block, str(ROOT / f"{script}.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == status, done.stderr
    assert told.lower() in (done.stdout + done.stderr).lower()
    assert "not installed" not in done.stderr


def test_what_is_held_back_may_be_any_bytes():
    with details.quiet(2):
        os.write(2, b"caf\xe9\n")
    path = Path(details.write_details().removeprefix("details: "))
    assert "caf\ufffd" in path.read_text(encoding="utf-8")


def test_an_error_that_says_nothing_is_told_by_its_kind():
    assert startup.reason(MemoryError()) == "MemoryError"
    assert startup.reason(ValueError("\n no\nmore")) == "no"


JaxRuntimeError = type("JaxRuntimeError", (RuntimeError,), {})


@pytest.mark.parametrize("error", [JaxRuntimeError("NCCL failed"), ValueError("Gloo failed")])
def test_another_process_that_ended_is_suspected(monkeypatch, error):
    def main():
        raise error

    monkeypatch.setattr(startup, "_has_peers", lambda: True)
    with pytest.raises(startup.UserError, match="failed\nHas another process ended"):
        startup._explain_errors(main, "Go on.", "")


@pytest.mark.slow
def test_letters_that_the_terminal_does_not_know_end_nothing_and_any_x86_has_onednn():
    """Nor is all of a GPU's memory taken at once."""
    growth = "TF_FORCE_GPU_ALLOW_GROWTH"
    code = f"import common; common.launch(lambda: print('\\u9053')){ONEDNN}"
    code += f"print(os.environ['{growth}'])"
    settings = {"PYTHONIOENCODING": "ascii", "TF_ENABLE_ONEDNN_OPTS": None, growth: None}
    process = run_code(code, **settings)
    assert process.returncode == 0, process.stderr
    letter, onednn, grows = process.stdout.splitlines()
    assert (letter, grows) == ("?", "true")
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):  # elsewhere it may lack it
        assert onednn == "True 1"


@pytest.mark.parametrize("flags", [["--predict", "a.jpg", "--overwrite"], ["--export", "onnx"]])
def test_who_overwrites_is_told_that_it_begins_anew(monkeypatch, flags):
    def main():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(sys, "argv", ["Unet-keras.py", *flags])
    with pytest.raises(startup.UserError, match="given again, begins anew"):
        startup.launch(main)


def test_who_is_alone_suspects_no_other_process(monkeypatch):
    def main():
        raise JaxRuntimeError("INTERNAL: a bug")

    monkeypatch.delenv("KERAS_DISTRIBUTION_NUM_PROCESSES", raising=False)
    with pytest.raises(JaxRuntimeError, match="a bug"):
        startup._explain_errors(main, "Go on.", "")


@pytest.mark.parametrize(("code", "status"), [(2, 2), (None, 0), ("in words", 1)])
def test_one_of_several_processes_ends_with_the_status_of_its_error(monkeypatch, code, status):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    startup._exit_at_once(SystemExit(code))
    assert ended == [status]


def test_an_export_has_no_batch_size(monkeypatch):
    def main():
        raise MemoryError

    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(sys, "argv", ["Unet-keras.py", "--export=onnx"])
    with pytest.raises(startup.UserError, match="Try a --model trained on a smaller --image-size"):
        startup.launch(main)


@pytest.mark.slow
def test_nothing_is_held_back_where_nobody_listens():
    """As in pythonw, in which IDLE on Windows runs programs."""
    code = (
        "import os; os.close(2)\n"
        "from support.runtime.details import quiet\n"  # whose import is quiet, too
        "with quiet(2):\n"
        "    print('done')\n"
    )
    process = run_code(code)
    assert (process.returncode, process.stdout) == (0, "done\n")


def test_a_full_disk_is_not_told_as_too_little_memory(monkeypatch):
    """TensorFlow writes a SavedModel, and has one error for both."""

    def main():
        raise tf.errors.ResourceExhaustedError(None, None, "a/variables; No space left on device")

    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(sys, "argv", ["Unet-keras.py", "--export", "saved_model"])
    with pytest.raises(startup.UserError, match=r"^No space left on device\nThe disk is full\. "):
        startup.launch(main)


def test_details_bear_names_of_files_that_are_not_utf_8():
    told = details.write_details(ValueError("caf\udce9"))
    assert "caf\\udce9" in Path(told.removeprefix("details: ")).read_text(encoding="utf-8")


def test_a_full_disk_does_not_hide_what_went_wrong(monkeypatch, tmp_path):
    monkeypatch.setattr(details.tempfile, "gettempdir", lambda: str(tmp_path / "gone"))
    told = details.write_details(ValueError("wrong"))
    assert told == "no details: they could not be written"


def test_figures_do_without_latex_whatever_a_matplotlibrc_says():
    with matplotlib.rc_context({"text.usetex": True}):
        startup.use_known_defaults()
        assert not matplotlib.rcParams["text.usetex"]


def test_a_single_process_of_a_launcher_has_no_peers(monkeypatch):
    for count, wanted in (("1", False), (" 1 ", False), ("2", True)):
        monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", count)
        assert startup._has_peers() == wanted


def test_a_notebook_keeps_its_own_way_to_interrupt_and_no_lock(monkeypatch, tmp_path):
    """IPython keeps what a failed cell has left, and with it the lock of its run."""
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    monkeypatch.setattr(sys, "argv", ["Unet-keras.py"])
    before = signal.getsignal(signal.SIGINT)
    kept = []

    def main():
        kept.append(lock(tmp_path))
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(startup.UserError, match="No space"):
        startup.launch(main)
    assert signal.getsignal(signal.SIGINT) is before
    again = lock(tmp_path)
    assert again is not None
    again.close()
