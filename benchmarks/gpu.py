"""What a GPU makes of a training step, with Keras on JAX or PyTorch; TensorFlow may be missing.

    KERAS_BACKEND=jax python benchmarks/gpu.py      each network by size and precision
    KERAS_BACKEND=torch python benchmarks/gpu.py    the same, and U-Net in plain PyTorch beside it

Each measurement is a process of its own; all take minutes. Pictures are random numbers that lie in
memory: TensorFlow's pipeline is not in it. How many cores it would need beside the GPU is
calculated from what `measure.py pipeline` gave on the cores that README's figures are from. What
float32 means is up to the library: on NVIDIA GPUs since Ampere, convolutions in TF32.
"""

import argparse
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

if os.environ.get("KERAS_BACKEND") not in ("jax", "torch"):
    sys.exit("Set KERAS_BACKEND to jax or torch.")
STAND_INS = () if importlib.util.find_spec("tensorflow") else ("tensorflow", "tensorflow.data")
for _name in STAND_INS:  # the scripts import it, and nothing that is measured here uses it
    sys.modules[_name] = mock.MagicMock(__spec__=importlib.machinery.ModuleSpec(_name, None))

import measure  # noqa: E402

for _name in STAND_INS:  # Keras asks for it later, and is to know that it is not there
    del sys.modules[_name]

import keras  # noqa: E402

NETWORKS = ("unet", "fcn", "u2net full")
PRECISIONS = ("float32", "mixed_bfloat16")
AUGMENTED = 1_750  # pictures of 128 px a second and core: measure.py pipeline, 2026-11-29
PLAIN = "unet, plain PyTorch"


class Repeated(keras.utils.PyDataset):
    """The same batch of random pictures and masks, some steps an epoch."""

    def __init__(self, batch, steps):
        super().__init__()
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, number):
        return self.batch


class EpochSeconds(keras.callbacks.Callback):
    """Notes how long epochs take; that of the first, which compiles, is not noted."""

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):  # the scores are numbers by now: all steps are over
        if epoch:
            self.seconds.append(time.perf_counter() - self.begun)


def keras_step(name, size, precision, batch_size, steps):
    """Seconds of a training step under `fit`, and the FLOP of its convolutions."""
    keras.config.set_dtype_policy(precision)
    model = measure.NETWORKS[name](size)
    keras.config.set_dtype_policy("float32")
    shapes = measure.input_shapes(model, size, 1)
    flop = sum(
        measure.flop(one, shapes[one.name], *how) for one, *how in measure.convolutions(model)
    )
    watch = EpochSeconds()
    batches = Repeated(measure.random_batch(size, batch_size), steps)
    measure.compiled(model).fit(batches, epochs=3, callbacks=[watch], verbose=0)
    return min(watch.seconds) / steps, batch_size * flop


def plain_step(size, precision, batch_size, steps):
    """Seconds of a step of the same U-Net as a user of PyTorch writes it, and no FLOP.

    Channels last, autocast, Adam; cross-entropy without Dice loss, no dropout, no scores.
    """
    import torch
    from torch import nn

    def block(before, after):
        def convolution(channels):
            return (
                nn.Conv2d(channels, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            )

        return nn.Sequential(*convolution(before), *convolution(after))

    class UNet(nn.Module):
        def __init__(self, widths=(64, 128, 256, 512, 1024)):
            super().__init__()
            self.down = nn.ModuleList(map(block, (3, *widths[:-1]), widths))
            pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
            self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs)
            self.joined = nn.ModuleList(block(a, b) for a, b in pairs)
            self.scores = nn.Conv2d(widths[0], 3, 1)

        def forward(self, x):
            skips = []
            for level, down in enumerate(self.down):
                x = down(nn.functional.max_pool2d(x, 2) if level else x)
                skips.append(x)
            skips.pop()
            for up, joined in zip(self.up, self.joined, strict=True):
                x = joined(torch.cat([skips.pop(), up(x)], dim=1))
            return self.scores(x)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, masks = map(torch.from_numpy, measure.random_batch(size, batch_size))
    images, masks = images.permute(0, 3, 1, 2), masks[..., 0].long()  # this is channels last
    model = UNet().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters())

    def epoch():
        begun = time.perf_counter()
        for _ in range(steps):
            x, y = images.to(device), masks.to(device)  # as Keras does in each step
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=precision != "float32"):
                loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        loss.item()  # so that all steps are over
        return time.perf_counter() - begun

    epoch()
    return min(epoch() for _ in range(2)) / steps, None


def most_memory():
    """GB that the GPU held at most; "" on a CPU."""
    if keras.backend.backend() == "jax":
        import jax

        held = jax.local_devices()[0].memory_stats() or {}
        return held["peak_bytes_in_use"] / 1e9 if "peak_bytes_in_use" in held else ""
    import torch

    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else ""


def row(name, size, precision, batch_size, steps):
    """One measurement as a dict."""
    if name == PLAIN:
        seconds, flop = plain_step(size, precision, batch_size, steps)
    else:
        seconds, flop = keras_step(name, size, precision, batch_size, steps)
    rate = batch_size / seconds
    return {
        "network": name,
        "px": size,
        "precision": precision,
        "step, s": seconds,
        "pictures/s": rate,
        "TFLOP/s": flop / seconds / 1e12 if flop else "",
        "GB": most_memory(),
        "cores for pictures": rate * (size / 128) ** 2 / AUGMENTED,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", default=[*NETWORKS, PLAIN])
    parser.add_argument("--sizes", nargs="+", type=int, default=[128, 256, 512])
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20, help="of an epoch; three are trained")
    parser.add_argument("--one", action="store_true", help="measure the first of each, print JSON")
    flags = parser.parse_args()
    options = flags.batch_size, flags.steps
    if flags.one:
        found = row(flags.only[0], flags.sizes[0], flags.precisions[0], *options)
        print(json.dumps(found))
        return
    backend = keras.backend.backend()
    print(f"{measure.devices.device()}, Keras on {backend}, {flags.batch_size} pictures a step")
    rows = []
    for name in flags.only:
        for size in flags.sizes if name != PLAIN or backend == "torch" else ():
            for precision in flags.precisions:
                what = ["--only", name, "--sizes", size, "--precisions", precision]
                what += ["--batch-size", flags.batch_size, "--steps", flags.steps, "--one"]
                command = [sys.executable, Path(__file__), *what]
                run = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True)
                if run.returncode == 0:
                    rows.append(json.loads(run.stdout.splitlines()[-1]))
                else:  # too little memory for this one, say, and its own words are above
                    print(f"{name}, {size} px, {precision}: not measured", file=sys.stderr)
    if rows:
        measure.print_table(rows)


if __name__ == "__main__":
    main()
