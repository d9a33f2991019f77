"""Several devices and several processes make the run of one; who loses another one ends."""

import csv
import json
import re
import shutil
import socket
import subprocess
import sys
from types import SimpleNamespace

import common
from support.data.image_io import VOID
from support.inference.model_file import load_model
from support.runtime import devices, distributed

import numpy as np
import pytest
from conftest import ROOT, cut_short, environment, finished_run, wait_for_epochs

FLAGS = ["--image-size", "32", "--batch-size", "6", "--base-filters", "2"]


def free_port():
    with socket.socket() as unused:
        unused.bind(("", 0))
        return unused.getsockname()[1]


def start_processes(count, arguments, cwd, devices_each=1, numbers=None):
    """Start Python in several processes on JAX, as a launcher would."""
    variables = environment("jax") | {"PYTHONPATH": str(ROOT)}
    variables["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices_each}"
    if count > 1:
        variables |= {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port()}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
        }
    for number in range(count) if numbers is None else numbers:
        if count > 1:
            variables["KERAS_DISTRIBUTION_PROCESS_ID"] = str(number)
        yield subprocess.Popen(
            [sys.executable, *arguments],
            **{"cwd": cwd, "env": dict(variables), "text": True},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
        )


def ends(processes):
    """Exit status, output and errors of each."""
    written = [process.communicate(timeout=300) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, written, strict=True)]


def history(folder):
    with open(folder / "history.csv", newline="") as file:
        return [[float(value) for value in row.values()] for row in csv.DictReader(file)]


def assert_same_run(runs, others):
    """Equal to rounding, which a few steps of training make larger."""
    run, other = finished_run(runs, "unet"), finished_run(others, "unet")
    np.testing.assert_allclose(history(run.folder), history(other.folder), atol=5e-3)
    assert run.metrics["mean_iou"] == pytest.approx(other.metrics["mean_iou"], abs=0.01)
    assert run.metrics["epochs"] == other.metrics["epochs"]
    for one in (run, other):
        left = {path.name for path in one.folder.iterdir()}
        assert left == {
            *("model.keras", "metrics.json", "hyperparameters.json", "history.csv"),
            *("history.png", "predictions.png"),
        }


@pytest.fixture(scope="session")
def single(tmp_path_factory, pets):
    """A run of one process and one device on JAX: its folder of runs, also as if killed; flags."""
    runs = tmp_path_factory.mktemp("single")
    flags = [str(ROOT / "Unet-keras.py"), "--data-dir", str(pets), *FLAGS, "--epochs", "3"]
    (process,) = start_processes(1, [*flags, "--runs-dir", "."], runs)
    left = cut_short(process, runs, epochs=2, moment=0)  # so that the first has a checkpoint
    ((status, _, errors),) = ends([process])
    assert status == 0, errors
    return SimpleNamespace(runs=runs, flags=flags, cut_short=left)


@pytest.mark.slow
def test_importing_leaves_jax_free_to_connect_and_the_gpus_alone():
    """Once JAX was asked for its devices, it can connect to no other process any more.

    And what GPUs TensorFlow takes, JAX has no room on.
    """
    watch = "import tensorflow as tf; seen = []; tf.config.set_visible_devices = "
    watch += "lambda *given: seen.append(given)"
    connect = f"jax.distributed.initialize('127.0.0.1:{free_port()}', 1, 0)"
    scripts = "; ".join(f"import_module('{name}-keras')" for name in ("FCN", "Unet", "U2Net"))
    program = f"{watch}; from importlib import import_module; {scripts}; import jax; {connect}; "
    program += "assert ([], 'GPU') in seen"
    options = {"cwd": ROOT, "env": environment("jax"), "capture_output": True, "text": True}
    process = subprocess.run([sys.executable, "-c", program], timeout=120, **options)
    assert process.returncode == 0, process.stderr


GO_ON = "Has another process ended? The same command, given again, goes on after the last finished"
JAX_TELLS = "Terminating process because the JAX distributed service detected fatal errors"


@pytest.mark.slow
@pytest.mark.xdist_group("single")
def test_a_killed_run_on_jax_ends_as_one_that_was_left_in_peace(single, tmp_path):
    shutil.copytree(single.cut_short, tmp_path, dirs_exist_ok=True)
    flags = [*single.flags, "--runs-dir", "."]
    ((status, out, errors),) = ends([*start_processes(1, flags, tmp_path)])
    assert (status, errors) == (0, "")
    assert "Goes on after epoch" in out
    again, run = finished_run(tmp_path, "unet"), finished_run(single.runs, "unet")
    assert run.hyperparameters["backend"] == "jax"
    assert "jax" in run.hyperparameters["versions"]
    assert history(again.folder) == history(run.folder)
    assert again.metrics["iou"] == run.metrics["iou"]


@pytest.mark.slow
@pytest.mark.xdist_group("single")
def test_a_killed_process_ends_the_other_and_any_number_goes_on(single, tmp_path):
    before, flags = tmp_path / "before", [*single.flags, "--runs-dir", "."]
    before.mkdir()
    processes = [*start_processes(2, flags, before)]
    wait_for_epochs(processes[0], before, 2, moment=0)  # so that the first has a checkpoint
    left, killed = processes  # the main process is killed below
    killed.kill()
    _, errors = left.communicate(timeout=75)
    assert left.returncode not in (0, None)
    assert GO_ON in errors or JAX_TELLS in errors  # whichever sees it first
    assert "Traceback" not in errors
    killed.communicate()
    for count in (1, 3):
        runs = tmp_path / f"{count} go on"
        shutil.copytree(before, runs)
        ended = ends([*start_processes(count, flags, runs, devices_each=2)])
        (status, out, errors), *others = ended
        assert status == 0, errors
        assert f"Device: {2 * count} x CPU" in out
        assert "Goes on after epoch" in out
        assert others == [(0, "", "")] * (count - 1)  # who is not the first has nothing to say
        assert_same_run(runs, single.runs)


PROGRAM = """
import os, signal, sys, time
from types import SimpleNamespace
# In place of TensorFlow, which only feeds pictures here, and takes longest to import.
config = SimpleNamespace(set_visible_devices=lambda *given: None)
errors = SimpleNamespace(ResourceExhaustedError=MemoryError)
sys.modules["tensorflow"] = SimpleNamespace(config=config, errors=errors)
from support.runtime import distributed, startup

import numpy as np
del sys.modules["tensorflow"]  # JAX looks for the real one

def main():
    distributed.initialize(SimpleNamespace())
    is_main = distributed.is_main_process()
    exec(sys.argv[1])

distributed.TIMEOUT = 10
startup.launch(main)
"""


def run_program(statements, cwd, count=2, numbers=None):
    """Exit status, output and errors of several processes that time out after 10 s."""
    processes = start_processes(count, ["-c", PROGRAM, statements], cwd, numbers=numbers)
    return ends([*processes])


@pytest.mark.slow
def test_a_sum_over_processes_is_exact_and_the_others_wait_for_the_main_process(tmp_path):
    """Floating-point numbers, or 32 bits, would lose the last digit. Figures take their time."""
    statements = """
total = distributed.all_reduce_sum(np.array([2**60 + 1 + is_main, 5]))
print(total.tolist(), distributed.broadcast(b"main" if is_main else b"").decode())
time.sleep(15 * is_main)
"""
    main, other = run_program(statements, tmp_path)
    assert main == (0, f"[{2**61 + 3}, 10] main\n", "")
    assert other == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_who_waits_for_a_process_that_never_comes_ends(tmp_path, number):
    ((status, _, errors),) = run_program("", tmp_path, numbers=[number])
    assert status not in (0, None)
    assert re.match(r"Waiting at 127.0.0.1:\d+ for all 2 processes, 10 s in all.\n", errors)
    assert JAX_TELLS in errors


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
@pytest.mark.parametrize(("stopped", "how"), [(0, "SIGSTOP"), (1, "SIGSTOP"), (0, "SIGKILL")])
def test_a_process_that_falls_silent_or_dies_ends_the_other(tmp_path, stopped, how):
    """Silent as when a machine loses its power: nobody closes its connections."""
    stop = f"if is_main != {bool(stopped)}: os.kill(os.getpid(), signal.{how})"
    wait = "for _ in range(600): distributed.broadcast(b''); time.sleep(0.1)"
    processes = [*start_processes(2, ["-c", PROGRAM, f"{stop}\n{wait}"], tmp_path)]
    silent, left = processes[stopped], processes[1 - stopped]
    _, errors = left.communicate(timeout=75)
    assert left.returncode not in (0, None)
    assert JAX_TELLS in errors or GO_ON in errors  # whichever sees it first
    silent.kill()
    silent.communicate()


@pytest.mark.slow
def test_a_bug_in_one_process_ends_the_other(tmp_path):
    statements = "if not is_main: raise KeyError('a bug')\ndistributed.broadcast(b'')"
    main, other = run_program(statements, tmp_path)
    assert main[0] == other[0] == 1
    assert len(main[2].splitlines()) == 2
    assert GO_ON in main[2]
    assert "KeyError: 'a bug'" in other[2]


@pytest.mark.slow
def test_two_devices_under_tensorflow(tmp_path, pets):
    """Trained, resumed and evaluated by both; pictures count once, however they are spread."""
    code = """
import runpy, sys
import tensorflow as tf
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    script, runs = str(ROOT / "Unet-keras.py"), ["--runs-dir", str(tmp_path)]
    command = [sys.executable, "-c", code, script, "--data-dir", str(pets), *FLAGS, *runs]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*command, "--epochs", "3"], **options)
    wait_for_epochs(process, tmp_path, 2, moment=0)  # so that the first has a checkpoint
    process.kill()
    process.communicate()
    process = subprocess.run([*command, "--epochs", "3"], **options)
    assert process.returncode == 0, process.stderr
    assert "Device: 2 x CPU" in process.stdout
    assert "Goes on after epoch" in process.stdout
    run = finished_run(tmp_path, "unet")
    assert run.metrics["epochs"] == 3
    assert run.hyperparameters["devices"] == 2
    flags = ["--image-size", "32", "--fit", "resize", "--seed", "1", "--augmentation", "0"]
    keys = [one[2:].replace("-", "_") for one in flags[::2]]
    settings = dict(zip(keys, [32, "resize", 1, 0.0], strict=True))
    settings |= {"dataset": "oxford_iiit_pet", "data_dir": str(pets), "runs_dir": tmp_path}
    data = common.load_data(SimpleNamespace(**settings, batch_size=4))
    model, _ = load_model(run.folder / "model.keras")
    alone, _ = common.evaluate(model, data.test, 3)
    scores = common.scores_from_confusion(alone, data.class_names)
    assert scores["mean_iou"] == pytest.approx(run.metrics["mean_iou"], abs=1e-4)


def processes_of_one(monkeypatch, count, number):
    monkeypatch.setattr(distributed, "_process", SimpleNamespace(count=count, number=number))


@pytest.mark.parametrize("fit", ["resize", "tiles"])
def test_the_shares_of_a_batch_are_the_batch(monkeypatch, pet_flags, fit):
    vars(pet_flags).update(fit=fit, batch_size=4)

    def loaded(count, number):
        processes_of_one(monkeypatch, count, number)
        data = common.load_data(pet_flags)
        data.epochs.number = 2
        return data

    whole = loaded(1, 0)
    shares = [loaded(2, number) for number in range(2)]
    for split in ("train", "validation"):
        batches = [getattr(one, split).as_numpy_iterator() for one in (whole, *shares)]
        for wanted, *halves in zip(*batches, strict=True):
            for one, *parts in zip(wanted, *halves, strict=True):
                np.testing.assert_array_equal(one, np.concatenate(parts))

    def tested(data):
        return [image.tobytes() for images, _ in data.test.as_numpy_iterator() for image in images]

    assert sorted(tested(whole)) == sorted(sum(map(tested, shares), []))  # noqa: RUF017


def test_the_last_batch_of_validation_is_filled_with_void(pet_flags):
    pet_flags.batch_size = 3  # of 4 pictures
    (_, first), (images, last) = common.load_data(pet_flags).validation.as_numpy_iterator()
    assert not (first == VOID).any()
    assert images.shape == (3, 64, 64, 3)
    assert [(mask == VOID).all() for mask in last] == [False, True, True]


def test_void_pictures_do_not_change_the_loss():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (2, 8, 8, 1)).astype(np.uint8)
    guess = rng.normal(0, 1, (2, 8, 8, 3)).astype(np.float32)
    filled = np.concatenate([truth, np.full((1, 8, 8, 1), VOID, np.uint8)])
    guesses = np.concatenate([guess, guess[:1]])
    wanted, found = (
        float(np.mean(common.segmentation_loss(*pair)))
        for pair in ((truth, guess), (filled, guesses))
    )
    assert found == pytest.approx(wanted, rel=1e-5)


def set_variables(monkeypatch, **given):
    """Tell this process who it is, as a launcher would."""
    for name, value in given.items():
        monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"NUM_PROCESSES": "2"}, "set KERAS_DISTRIBUTION_JOB_ADDRESSES and KERAS_DISTR"),
        (
            {"JOB_ADDRESSES": "here", "NUM_PROCESSES": "2", "PROCESS_ID": "0"},
            "JOB_ADDRESSES is here: it takes host:port of process 0",
        ),
        (
            {"JOB_ADDRESSES": "here:65536", "NUM_PROCESSES": "2", "PROCESS_ID": "0"},
            "JOB_ADDRESSES is here:65536: it takes host:port of process 0",
        ),
        (
            {"JOB_ADDRESSES": "here:0", "NUM_PROCESSES": "2", "PROCESS_ID": "0"},
            "JOB_ADDRESSES is here:0: it takes host:port of process 0",
        ),
        (
            {"JOB_ADDRESSES": "12345", "NUM_PROCESSES": "2", "PROCESS_ID": "0"},
            "JOB_ADDRESSES is 12345: it takes host:port of process 0",
        ),
        (
            {"JOB_ADDRESSES": "here:1", "NUM_PROCESSES": "two", "PROCESS_ID": "0"},
            "NUM_PROCESSES is two: it takes a whole number",
        ),
        (
            {"JOB_ADDRESSES": "here:1", "NUM_PROCESSES": "2", "PROCESS_ID": "2"},
            "Of 2 processes, none has the number 2",
        ),
        (
            {"JOB_ADDRESSES": "here:1", "NUM_PROCESSES": "0", "PROCESS_ID": "0"},
            "Of 0 processes, none has the number 0",
        ),
        (
            {"JOB_ADDRESSES": "here:1", "NUM_PROCESSES": "2", "PROCESS_ID": "0"},
            "this is Keras on tensorflow: set KERAS_BACKEND=jax",
        ),
    ],
)
def test_wrong_settings_are_told(monkeypatch, given, told):
    set_variables(monkeypatch, **given)
    with pytest.raises(SystemExit, match=told):
        distributed.initialize(SimpleNamespace())


def test_a_port_that_is_taken_is_told(monkeypatch):
    processes_of_one(monkeypatch, 1, 0)
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(distributed, "_read_environment", lambda: (f"here:{port}", 2, 0))
        with pytest.raises(SystemExit, match=f"cannot listen at port {port}: .* in use"):
            distributed.initialize(SimpleNamespace())


def test_who_differs_from_process_0_is_told(monkeypatch):
    monkeypatch.setattr(distributed, "broadcast", lambda content: b'{"seed": 1, "runs_dir": "a"}')
    distributed.check_same({"seed": 1, "runs_dir": "b"})
    with pytest.raises(SystemExit, match="differs from process 0 in seed: 2, not 1"):
        distributed.check_same({"seed": 2, "runs_dir": "a"})


def test_a_batch_that_devices_cannot_share_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(devices, "device_count", lambda: 2)
    flags = SimpleNamespace(batch_size=5, seed=1, precision="float32")
    with pytest.raises(SystemExit) as stopped:
        common.set_up(flags)
    assert stopped.value.code == 2
    told = "--batch-size 5 cannot be shared evenly by 2 devices: try 6"
    assert told in capsys.readouterr().err


def test_a_backend_that_uses_one_of_several_gpus_says_so(monkeypatch):
    monkeypatch.setattr(devices, "accelerators", lambda: [("H100", 9.0)] * 4)
    monkeypatch.setattr(devices, "device_count", lambda: 1)
    assert "uses 1 of 4 GPUs" in devices.unused_gpu()


def test_of_the_addresses_of_all_processes_the_first_counts(monkeypatch):
    set_variables(monkeypatch, JOB_ADDRESSES="a:1234, b:5678", NUM_PROCESSES="2", PROCESS_ID="1")
    monkeypatch.setattr(distributed, "BACKEND", "jax")
    assert distributed._read_environment() == ("a:1234", 2, 1)


def test_paths_may_differ_from_machine_to_machine(monkeypatch):
    names = ("data_dir", "dataset", "runs_dir", "script")
    here = json.dumps(dict.fromkeys(names, "/here")).encode()
    monkeypatch.setattr(distributed, "broadcast", lambda content: here)
    distributed.check_same(dict.fromkeys(names, "/there"))


def test_a_single_process_of_a_launcher_takes_any_backend(monkeypatch):
    set_variables(monkeypatch, JOB_ADDRESSES="here:1234", NUM_PROCESSES="1", PROCESS_ID="0")
    distributed.initialize(SimpleNamespace())
    assert distributed.process_count() == 1


def test_processes_of_unlike_numbers_of_devices_are_refused(monkeypatch):
    jax = SimpleNamespace(device_count=lambda: 4, local_device_count=lambda: 3)
    jax.config = SimpleNamespace(update=lambda *given: None)
    jax.distributed = SimpleNamespace(initialize=lambda *given, **options: None)
    monkeypatch.setitem(sys.modules, "jax", jax)
    processes_of_one(monkeypatch, 1, 0)
    monkeypatch.setattr(distributed, "_read_environment", lambda: ("here:0", 2, 0))  # any port
    with pytest.raises(SystemExit, match="need the same number of devices"):
        distributed.initialize(SimpleNamespace())
