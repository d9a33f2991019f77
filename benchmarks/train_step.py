"""Seconds of a training step, network by network, in turn so that a drifting machine is fair.

    python benchmarks/train_step.py                      all networks, 128 px, 8 pictures
    python benchmarks/train_step.py --only unet fcn      some of them

Prints for each the median of the rounds, its range, and its ratio to the first one. Data are
random numbers: only the step is measured, without loading and augmentation.
"""

import argparse
import importlib
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import common  # noqa: E402  (before Keras, which it quiets)

import keras  # noqa: E402
import numpy as np  # noqa: E402


def unet(size, **more):
    return importlib.import_module("Unet-keras").build_model(image_size=size, **more)


def fcn(size, frozen):
    model = importlib.import_module("FCN-keras").build_model(image_size=size, pretrained="none")
    model.get_layer("vgg16").trainable = not frozen
    return model


def u2net(size, variant):
    return importlib.import_module("U2Net-keras").build_model(image_size=size, variant=variant)


NETWORKS = {
    "unet": unet,
    "unet, 32 filters": lambda size: unet(size, base_filters=32),
    "fcn": lambda size: fcn(size, frozen=False),
    "fcn, encoder frozen": lambda size: fcn(size, frozen=True),
    "u2net full": lambda size: u2net(size, "full"),
    "u2net lite": lambda size: u2net(size, "lite"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    flags = parser.parse_args()

    rng = np.random.default_rng(0)
    shape = (flags.batch_size, flags.image_size, flags.image_size)
    images = rng.random((*shape, 3), np.float32)
    masks = rng.integers(0, 3, (*shape, 1), np.uint8)
    models, seconds = {}, {name: [] for name in flags.only}
    for name in flags.only:
        models[name] = NETWORKS[name](flags.image_size)
        outputs = len(models[name].outputs)
        models[name].compile(
            keras.optimizers.Adam(1e-3),
            [common.segmentation_loss] * outputs,
            jit_compile=common.JIT_COMPILE,
        )
        for _ in range(2):  # compile, then warm up
            models[name].train_on_batch(images, [masks] * outputs)
    for _ in range(flags.rounds):
        for name, model in models.items():
            truth = [masks] * len(model.outputs)
            begin = time.perf_counter()
            model.train_on_batch(images, truth)  # returns numbers, so the step is over
            seconds[name].append(time.perf_counter() - begin)

    print(f"{common.device()}, {flags.image_size} px, {flags.batch_size} pictures a step")
    first = statistics.median(seconds[flags.only[0]])
    for name, model in models.items():
        median = statistics.median(seconds[name])
        print(
            f"  {name:<22} {model.count_params():11,} parameters  {median:6.3f} s "
            f"({min(seconds[name]):.3f} to {max(seconds[name]):.3f})  {median / first:5.2f}x"
        )


if __name__ == "__main__":
    main()
