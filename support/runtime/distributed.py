"""Several processes, on one machine or on many, that train one model together.

Keras on JAX gives each its share of every batch and sums their gradients. Any launcher can start
them: the variables below tell a process who it is. Process 0 is the main process, which writes and
prints; the others print errors only.
"""

import json
import os
import socket
import threading
from types import SimpleNamespace

from support.runtime.details import quiet
from support.runtime.devices import BACKEND
from support.runtime.startup import UserError

import numpy as np

TIMEOUT = 60  # seconds to wait for a process that does not come, or gives no sign of life
_VARIABLES = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")  # after KERAS_DISTRIBUTION_
_MAY_DIFFER = {"data_dir", "dataset", "runs_dir", "script"}  # paths; `data` tells what is there
_process = SimpleNamespace(count=1, number=0)


def process_count():
    """How many processes train together."""
    return _process.count


def is_main_process():
    """Whether this process is the one that writes and prints."""
    return _process.number == 0


def columns(batch_size):
    """This process's slice of every batch, whose size is a multiple of the number of processes."""
    share = batch_size // _process.count
    return slice(share * _process.number, share * (_process.number + 1))


def initialize(flags):
    """Connect to the other processes, if the environment says that there are any.

    From then on, JAX ends this process if another one dies or is silent for `TIMEOUT`. It does
    so, too, if not all of them come within that time.

    Raises:
        UserError: variables are missing or wrong, the port is taken, or the processes differ.
    """
    address, _process.count, _process.number = _read_environment()
    if _process.count == 1:
        return
    if is_main_process():
        port = int(address.rpartition(":")[2])
        try:  # JAX would crash if somebody listened there
            socket.create_server(("", port)).close()
        except OSError as error:
            raise UserError(f"Process 0 cannot listen at port {port}: {error}") from error
    else:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # C++ code writes there, too

    import jax  # here, because it is no requirement

    jax.config.update("jax_enable_preemption_service", False)  # else it delays their end
    waiting = f"Waiting at {address} for all {_process.count} processes, {TIMEOUT} s in all.\n"
    timer = threading.Timer(TIMEOUT / 2, os.write, (2, waiting.encode()))
    timer.daemon = True
    timer.start()
    # `keras.distribution.initialize` calls the same function, with timeouts of minutes.
    jax.distributed.initialize(
        *(address, _process.count, _process.number),
        cluster_detection_method="deactivate",  # under SLURM it would take one GPU of many
        initialization_timeout=TIMEOUT,
        heartbeat_timeout_seconds=TIMEOUT,
        shutdown_timeout_seconds=24 * 3600,  # while process 0 draws; heartbeats tell if it ends
    )
    timer.cancel()
    if jax.device_count() != _process.count * jax.local_device_count():
        raise UserError("All processes need the same number of devices.")
    with quiet(1):  # Gloo says that it has connected
        check_same(vars(flags))


def _read_environment():
    """The address of process 0, the number of processes, and which of them this one is."""
    names = [f"KERAS_DISTRIBUTION_{name}" for name in _VARIABLES]
    given = {name: os.environ.get(name, "").strip() for name in names}
    if not any(given.values()):
        return "", 1, 0
    if missing := [name for name, value in given.items() if not value]:
        raise UserError(f"To train with several processes, set {' and '.join(missing)}, too.")
    address, count, number = given.values()
    address = address.split(",")[0].strip()  # Keras allows those of all processes
    host, _, port = address.rpartition(":")
    values = port.lstrip("0") if host else "", count, number  # none waits at port 0
    forms = "host:port of process 0", "a whole number", "a whole number"
    for name, value, form in zip(given, values, forms, strict=True):
        if not value.isdecimal() or int(value) > 65535:
            raise UserError(f"{name} is {given[name]}: it takes {form}")
    count, number = int(count), int(number)
    if number >= count:
        raise UserError(f"Of {count} processes, none has the number {number}: it is from 0")
    if count > 1 and BACKEND != "jax":
        raise UserError(
            f"Several processes take Keras on JAX, this is Keras on {BACKEND}: set "
            "KERAS_BACKEND=jax, or unset KERAS_DISTRIBUTION_NUM_PROCESSES and the like."
        )
    return address, count, number


def check_same(facts):
    """Check that all processes have the same dict of facts, but for `_MAY_DIFFER`.

    Raises:
        UserError: a fact is not that of process 0.
    """
    first = json.loads(broadcast(json.dumps(facts).encode()))
    for name in facts.keys() - _MAY_DIFFER:
        if facts[name] != first.get(name):
            raise UserError(
                f"Process {_process.number} differs from process 0 in {name}: {facts[name]}, "
                f"not {first.get(name)}. Start all with the same flags, data and versions."
            )


def broadcast(content):
    """The bytes that process 0 gives, in every process."""
    if _process.count == 1:
        return content
    from jax.experimental import multihost_utils

    size = np.array([len(content)], np.int64).view(np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(size).view(np.int64)[0])
    sent = np.frombuffer(content, np.uint8) if is_main_process() else np.zeros(size, np.uint8)
    return np.array(multihost_utils.broadcast_one_to_all(sent)).tobytes()


def all_reduce_sum(numbers):
    """The sum of an int64 array over all processes, exactly."""
    if _process.count == 1:
        return numbers
    from jax.experimental import multihost_utils

    # As bytes: JAX would make 32 bits of 64.
    each = multihost_utils.process_allgather(np.ascontiguousarray(numbers).view(np.uint8))
    return np.array(each).view(np.int64).sum(axis=0)
