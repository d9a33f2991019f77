"""A trained model for programs without Keras: ONNX, LiteRT and TensorFlow's SavedModel."""

import importlib.util
import json
import shutil
import warnings

from support.inference.model_file import find_model, load_model
from support.runtime.details import quiet
from support.runtime.devices import BACKEND
from support.runtime.files import UNFINISHED, replace
from support.runtime.startup import UserError

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from keras.src import backend  # whose `image.resize` takes sizes that are not yet known

# By format: Keras' name of it, the file, what Keras needs to write it, and what runs it.
FORMATS = {
    "onnx": ("onnx", "model.onnx", ("tf2onnx", "onnx"), "onnxruntime"),
    "litert": ("litert", "model.tflite", (), "ai_edge_litert"),
    "saved_model": ("tf_saved_model", "saved_model", (), "tensorflow"),
}
_LARGEST_DIFFERENCE = 1e-4  # in probability, between Keras and what was exported


def export_model(network, flags):
    """Write a trained model in another format beside it, and check that it says the same.

    Args:
        network: str, whose newest finished run is used if `flags.model` names none.
        flags: Namespace with `export`, a key of `FORMATS`, `model` and `runs_dir`.

    Raises:
        UserError: there is no model, a package is missing, the file is there already, or what was
            exported does not give Keras' probabilities; it is removed then.
    """
    path = find_model(network, flags)
    kind, name, needed, _ = FORMATS[flags.export]
    if BACKEND != "tensorflow":
        raise UserError(f"--export takes Keras on TensorFlow, this is Keras on {BACKEND}")
    if missing := [package for package in needed if not importlib.util.find_spec(package)]:
        raise UserError(
            f"--export {flags.export} needs {' and '.join(missing)}: "
            f"pip install {' '.join(missing)}"
        )
    target = path.with_name(name)
    if target.exists():
        raise UserError(f"{target} is there already: move or delete it first")
    model, facts = load_model(path)
    print(f"Exporting {path}, which may take minutes ...", flush=True)
    # GPUs would round to 10 bits what runs on a CPU elsewhere, and the two are compared.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    unfinished = target.with_name(UNFINISHED + name)
    _remove(unfinished)  # of an export that was interrupted
    try:
        with warnings.catch_warnings(action="ignore"), quiet(2):  # of converters' own affairs
            _with_open_sides(model).export(unfinished, format=kind, verbose=False)
        if flags.export == "onnx":
            _name_parts(unfinished, facts)
        print(f"{target}: {_check(model, unfinished, flags.export, facts['image_size'])}")
        replace(unfinished, target)
    finally:
        _remove(unfinished)


def _remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _check(model, path, kind, side):
    """Say how much what was exported differs from Keras, at two sizes and numbers of pictures."""
    runtime = FORMATS[kind][-1]
    if not importlib.util.find_spec(runtime):
        return f"not checked, for {runtime} is not installed: pip install {runtime}"
    shapes = (1, side, side, 3), (2, side + 64, side + 32, 3)
    with quiet(2):
        difference = np.max([_difference(model, path, kind, shape) for shape in shapes])
    if not difference <= _LARGEST_DIFFERENCE:
        raise UserError(f"{path.name} differs from Keras by {difference:.2g} in probability")
    return f"differs from Keras by {difference:.1e} in probability at most, at two sizes"


class _Upsample(keras.layers.UpSampling2D):
    """Keras 3.15's own asks whether the size is positive, which no graph with open sides knows."""

    def call(self, inputs):
        height, width = ops.shape(inputs)[1:3]
        size = height * self.size[0], width * self.size[1]
        options = {"interpolation": self.interpolation, "data_format": "channels_last"}
        return backend.image.resize(inputs, size, **options)


def _with_open_sides(model):
    def copy(layer):
        replaced = isinstance(layer, keras.layers.UpSampling2D) and layer.interpolation != "nearest"
        return _Upsample.from_config(layer.get_config()) if replaced else layer

    copied = keras.models.clone_model(model, clone_function=copy)
    named = keras.Model({"image": copied.input}, {"probabilities": copied.output})
    named.predict_on_batch({"image": np.zeros((1, 64, 64, 3), np.float32)})  # Keras asks for a call
    return named


def _name_parts(path, facts):
    """Name inputs, outputs and open sides of an ONNX file, and put classes and colors into it."""
    import onnx

    found = onnx.load(path)
    (value,), (result,) = found.graph.input, found.graph.output
    names = {value.name: "image", result.name: "probabilities"}
    for node in found.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(end, end) for end in ends]
    for end in (value, result):
        end.name = names[end.name]
        sides = end.type.tensor_type.shape.dim
        for side, name in zip(sides, ("batch", "height", "width"), strict=False):
            side.dim_param = name
    del found.graph.value_info[:]  # it has the old names of the sides
    onnx.helper.set_model_props(found, {name: json.dumps(fact) for name, fact in facts.items()})
    onnx.save(found, path)


def _difference(model, path, kind, shape):
    """The largest difference in probability on pictures of a shape (N, H, W, 3) at random."""
    images = np.random.default_rng(0).random(shape, np.float32)
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"image": images})
    elif kind == "litert":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(str(path)).get_signature_runner()
        found = runner(image=images)["probabilities"]
    else:
        loaded = tf.saved_model.load(str(path))  # which owns what is called
        found = loaded.serve({"image": images})["probabilities"].numpy()
    return np.abs(found - ops.convert_to_numpy(model(images))).max()
