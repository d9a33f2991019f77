"""The private names of Keras that the scripts use, and what breaks when a new Keras changes one.

requirements.txt holds Keras to the version that these were tried with. A newer one may be taken as
soon as this file passes with it.
"""

import inspect

from support.training import batch_norm

import keras
import numpy as np
import pytest

MUON = "support/training/muon.py builds on it: convolutions would not be trained as the README says"
NORM = "support/training/batch_norm.py takes its place on CPUs: training would be wrong there"

# For each name: the class that has it, its parameters after self, and what it is for.
NAMES = {
    "_should_use_adamw": (keras.optimizers.Muon, ["variable"], MUON),
    "_backend_update_step": (
        keras.optimizers.Muon,
        ["grads", "trainable_variables", "learning_rate"],
        MUON,
    ),
    "_get_variable_index": (keras.optimizers.Muon, ["variable"], MUON),
    "_muon_update_step": (keras.optimizers.Muon, ["gradient", "variable", "lr", "m"], MUON),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_private_name_is_there_with_the_parameters_it_had(name):
    owner, parameters, why = NAMES[name]
    method = getattr(owner, name, None)
    assert method, f"Keras {keras.__version__} has no {owner.__name__}.{name} any more: {why}"
    found = [*inspect.signature(method).parameters][1:]
    assert found == parameters, f"Keras {keras.__version__} calls {name} with {found}: {why}"


def test_a_backend_resizes_to_sizes_that_are_not_yet_known():
    found = [*inspect.signature(keras.src.backend.image.resize).parameters]
    wanted = {"images", "size", "interpolation", "data_format"}
    why = "support/inference/export.py calls it: U2-Net could not be exported"
    assert wanted <= {*found}, f"Keras {keras.__version__} resizes with {found}: {why}"


def test_muon_keeps_what_its_steps_are_made_of():
    optimizer = keras.optimizers.Muon()
    names = ("momentums", "adam_velocities", "lr_adjust", "adam_beta_1", "adam_beta_2", "epsilon")
    names += ("momentum", "nesterov", "ns_steps", "muon_a", "muon_b", "muon_c", "adam_lr_ratio")
    optimizer.build([keras.Variable(np.ones((2, 2)))])
    missing = [name for name in names if not hasattr(optimizer, name)]
    assert not missing, f"Keras {keras.__version__} has no Muon.{missing[0]} any more: {MUON}"


def test_batch_normalization_is_called_as_before():
    call = batch_norm._composed  # Keras' own, whatever set_up has put there
    found = [*inspect.signature(call).parameters][1:]
    wanted = ["inputs", "training", "mask"]
    assert found == wanted, f"Keras {keras.__version__} calls it with {found}: {NORM}"
    layer = keras.layers.BatchNormalization()
    names = ("scale", "center", "synchronized", "renorm", "axis", "momentum", "epsilon")
    missing = [name for name in names if not hasattr(layer, name)]
    assert not missing, f"Keras {keras.__version__} has no {missing} in it any more: {NORM}"


class Later(keras.callbacks.Callback):
    """What `Checkpoint` does to go on after the second epoch."""

    epochs = ()

    def on_train_begin(self, logs=None):
        self.model._initial_epoch = 2

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs += (epoch,)


def test_fit_begins_with_the_epoch_that_a_callback_names():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse", jit_compile=False)
    later = Later()
    model.fit(np.ones((4, 2)), np.ones(4), epochs=4, callbacks=[later], verbose=0)
    assert later.epochs == (2, 3), (
        f"Keras {keras.__version__} no longer reads model._initial_epoch after on_train_begin, so "
        "runs that were cut short begin anew: support/training/checkpoint.py needs another way."
    )


def test_layers_know_what_they_take_and_who_takes_from_them():
    inputs = keras.Input((3,))
    first, second = keras.layers.Dense(2), keras.layers.Dense(2)
    keras.Model(inputs, second(first(inputs)))
    why = "support/inference/fold_batch_norm.py asks: it might fold what others use, too"
    told = f"Keras {keras.__version__} tells otherwise of layers before and after a layer: {why}"
    assert [node.parent_nodes[0].operation for node in second._inbound_nodes] == [first], told
    assert [node.operation for node in first._outbound_nodes] == [second], told
