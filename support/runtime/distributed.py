"""Several processes, on one machine or on many, that train one model together.

Keras on JAX gives each its share of every batch and sums their gradients. Any launcher can start
them: the variables below tell a process who it is. Process 0 writes and prints; the others print
errors only.
"""

import json
import os
from types import SimpleNamespace

from support.runtime import startup
from support.runtime.devices import BACKEND
from support.runtime.meeting import SILENCE, meet, watch
from support.runtime.startup import UserError

import numpy as np

_VARIABLES = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")  # after KERAS_DISTRIBUTION_
_MAY_DIFFER = {"data_dir", "dataset", "runs_dir", "script"}  # paths; `data` tells what is there
_self = SimpleNamespace(count=1, number=0)


def count():
    """How many processes train together."""
    return _self.count


def is_first():
    """Whether this process is the one that writes and prints."""
    return _self.number == 0


def columns(batch_size):
    """slice: the columns of a batch that this process has."""
    share = batch_size // _self.count
    return slice(share * _self.number, share * (_self.number + 1))


def join(flags):
    """Meet the other processes, if the environment says that there are any.

    Args:
        flags: Namespace of `parse_flags`, in which all have to agree but for `_MAY_DIFFER`.

    Raises:
        UserError: variables are missing or wrong, not all processes came in time, or they differ.
    """
    names = [f"KERAS_DISTRIBUTION_{one}" for one in _VARIABLES]
    given = {name: os.environ.get(name, "").strip() for name in names}
    if not any(given.values()):
        return
    if missing := [name for name, value in given.items() if not value]:
        raise UserError(f"To train with several processes, set {' and '.join(missing)}, too.")
    address, processes, number = given.values()
    host, _, port = address.split(",")[0].strip().rpartition(":")
    forms = "host:port of process 0", "a whole number", "a whole number"
    for name, value, form in zip(given, (port, processes, number), forms, strict=True):
        if not value.isdecimal() or int(value) > 65535:
            raise UserError(f"{name} is {given[name]}: it takes {form}")
    if int(number) >= int(processes):
        raise UserError(f"Of {processes} processes, none has the number {number}: it is from 0")
    if int(processes) == 1:
        return
    if BACKEND != "jax":
        raise UserError(
            f"Several processes take Keras on JAX, this is Keras on {BACKEND}: set "
            "KERAS_BACKEND=jax, or unset KERAS_DISTRIBUTION_NUM_PROCESSES and the like."
        )
    _self.count, _self.number = int(processes), int(number)
    watch(meet(host.strip("[]"), int(port), _self.count, _self.number))
    if not is_first():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # C++ code writes there, too
    startup.end_at_once()

    import jax  # here, because it is no requirement

    jax.config.update("jax_enable_preemption_service", False)  # has a say when processes end
    # `keras.distribution.initialize` would do the same, and wait for five minutes.
    jax.distributed.initialize(
        *(f"{host}:{port}", _self.count, _self.number),
        cluster_detection_method="deactivate",  # under SLURM it would take one GPU of many
        heartbeat_timeout_seconds=2 * SILENCE,
        shutdown_timeout_seconds=24 * 3600,  # while process 0 draws; `watch` notices if it ends
    )
    if jax.device_count() != _self.count * jax.local_device_count():
        raise UserError("All processes need the same number of devices.")
    with startup.quiet(1):  # Gloo says that it has connected
        from_first(b"")
    agree(vars(flags))


def agree(facts):
    """See that all processes have the same dict of facts, but for `_MAY_DIFFER`.

    Raises:
        UserError: a fact is not that of process 0.
    """
    first = json.loads(from_first(json.dumps(facts).encode()))
    for name in facts.keys() - _MAY_DIFFER:
        if facts[name] != first.get(name):
            raise UserError(
                f"Process {_self.number} differs from process 0 in {name}: {facts[name]}, "
                f"not {first.get(name)}. Start all with the same flags, data and versions."
            )


def from_first(content):
    """The bytes that process 0 gives, in every process."""
    if _self.count == 1:
        return content
    from jax.experimental import multihost_utils

    size = np.array([len(content) if is_first() else 0], np.int64).view(np.uint8)
    size = int(np.array(multihost_utils.broadcast_one_to_all(size)).view(np.int64)[0])
    there = np.frombuffer(content, np.uint8) if is_first() else np.zeros(size, np.uint8)
    return np.array(multihost_utils.broadcast_one_to_all(there)).tobytes()


def total(numbers):
    """The sum of an int64 array over all processes."""
    if _self.count == 1:
        return numbers
    from jax.experimental import multihost_utils

    # As bytes: JAX would make 32 bits of 64.
    each = multihost_utils.process_allgather(np.ascontiguousarray(numbers).view(np.uint8))
    return np.array(each).view(np.int64).sum(axis=0)
