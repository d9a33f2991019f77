"""Draw the networks for the README, from the layers that Keras has built.

    python docs/draw_figures.py    writes fcn.svg, unet.svg, u2net.svg and rsu.svg to docs/figures/

All sizes are read from the models; none is typed in. The figures follow the reader's light or
dark mode, their text stays text, and drawing them again gives the same bytes.
"""

import importlib
import sys
from pathlib import Path

from drawing import DECODER, ENCODER, IMAGE_SIZE, INK, MIDDLE, POOL, SKIP, STEP, TEXT, UP, Drawing

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # where the scripts are

CONVOLUTION, POOLING = ("→", INK, "conv 3×3"), ("↓", POOL, "max pool 2×2")
UPSAMPLING, SKIPPING = ("↑", UP, "up"), ("→", SKIP, "skip")
SCALE = ("↕", None, "side"), ("↔", None, "√channels")


def kind(layer):
    return type(layer).__name__


def draw_u(layers, wide):
    """A U-Net, or a residual U-block. Follows every tensor from the layer that made it."""
    drawing, boxes, color = Drawing(wide), {}, ENCODER
    legend = {ENCODER: "encoder", DECODER: "decoder"}
    for layer in layers:
        tensors = layer.input if isinstance(layer.input, list) else [layer.input]
        # From left to right: what skips to this layer comes before what is just made.
        before = sorted((boxes[id(tensor)] for tensor in tensors), key=lambda box: box.x)
        shape = layer.output.shape
        if kind(layer) == "InputLayer":
            box = drawing.first(shape)
        elif kind(layer) == "Conv2D":
            rate, kernel = layer.dilation_rate[0], layer.kernel_size[0]
            if rate > 1:
                legend[MIDDLE] = f"dilation {rate}"
            box = drawing.right(*before, shape, MIDDLE if rate > 1 else color, kernel=kernel)
        elif kind(layer) == "MaxPooling2D":
            box = drawing.down(*before, shape)
            drawing.side(box)
        elif kind(layer) == "Concatenate":
            start, last = before
            if start.side == last.side:
                box = drawing.right(last, shape, ENCODER, MIDDLE, arrow=SKIP)
            else:
                box = drawing.up(last, shape, ENCODER, DECODER)
                drawing.side(box)
            drawing.skip(start, box)
            color = DECODER
        elif kind(layer) == "Add":
            start, last = before
            plus = drawing.plus(last.right + STEP, last)
            drawing.skip(start, plus, part=0.5, high=40)
            drawing.join(last, plus, SKIP)
            box = drawing.right(plus, shape, DECODER, arrow=SKIP)
        else:  # upsampling is seen where it is concatenated; the others change no shape
            (box,) = before
        boxes[id(layer.output)] = box
    drawing.legend(0.17 * box.x, -30, CONVOLUTION, POOLING, UPSAMPLING, SKIPPING)
    rows = [("box", color, meaning) for color, meaning in legend.items()]
    drawing.legend(0.5 * box.x, -30, *rows, *SCALE)
    return drawing


def draw_fcn(model):
    """VGG-16 leads down; on the way up, the scores of three depths are added."""
    drawing, taps = Drawing(), {}
    box, shape = drawing.first(model.input.shape), model.input.shape
    for layer in model.get_layer("vgg16").layers[1:]:
        shape = layer.compute_output_shape(shape)  # VGG-16 takes any size, and so knows none
        if kind(layer) == "MaxPooling2D":
            box = drawing.down(box, shape)
            drawing.side(box)
            name = f"pool{len(taps) + 1}"
            drawing.text(box.left - 6, box.y + TEXT, name, ha="right")
            taps[name] = box
        elif kind(layer) == "Conv2D":
            box = drawing.right(box, shape, ENCODER)
    for name, color in (("fc6", MIDDLE), ("fc7", MIDDLE), ("score_fc7", DECODER)):
        layer = model.get_layer(name)
        box = drawing.right(box, layer.output.shape, color, kernel=layer.kernel_size[0])
    for below, tap in (("fc7", "pool4"), ("pool4", "pool3")):
        up, layer = model.get_layer(f"upsample_{below}"), model.get_layer(f"score_{tap}")
        box = drawing.up(box, up.output.shape, DECODER)
        drawing.side(box, ha="left")
        plus = drawing.plus(box.left - STEP, box)
        drawing.join(box, plus, SKIP)
        score = drawing.box(plus.left - STEP, layer.output.shape, DECODER)
        drawing.join(score, plus, SKIP)
        drawing.skip(taps[tap], score, part=0.5)
        drawing.text(score.x - STEP, score.top + 28, "{}×{}".format(*layer.kernel_size))
        box = plus
    box = drawing.up(box, model.output.shape, DECODER)
    drawing.side(box)
    drawing.legend(0.2 * box.x, -30, CONVOLUTION, POOLING, UPSAMPLING, SKIPPING)
    rows = (("box", ENCODER, "VGG-16"), ("box", MIDDLE, "fc6, fc7"), ("box", DECODER, "score"))
    drawing.legend(0.55 * box.x, -30, *rows, *SCALE)
    return drawing


def rsu_stages(model):
    """Name and output of every residual U-block; each ends in an Add."""
    stages, convs, pools = [], 0, 0
    for layer in model.layers:
        convs += kind(layer) == "Conv2D"
        pools += kind(layer) == "MaxPooling2D" and convs > 0  # pools before it are between blocks
        if kind(layer) == "Add":
            # RSU-7 has 14 convolutions; RSU-4F has the 8 of RSU-4, but no pooling.
            stages.append((f"RSU-{convs // 2}{'' if pools else 'F'}", layer.output))
            convs = pools = 0
    return stages


def draw_u2net(model):
    """The stages of U2-Net. Six of them have a side output each, and these are fused."""
    drawing, stages, encoders, last_six = Drawing(wide=2), rsu_stages(model), {}, {}
    convs = {id(layer.input): layer for layer in model.layers if kind(layer) == "Conv2D"}

    def write(box, shape, name, ha):
        """Above and below the arrow at one end of a box: its name and its sizes."""
        x = box.left - 6 if ha == "right" else box.right + 6
        drawing.text(x, box.y + TEXT / 2 + 4, name, ha)
        drawing.text(x, box.y - TEXT / 2 - 2, f"{shape[1]}²·{shape[-1]}", ha)

    for number, (name, tensor) in enumerate(stages[:5], start=1):
        box = drawing.box(0, tensor.shape, ENCODER, label=False)
        if number > 1:
            drawing.arrow((0, encoders[number - 1].bottom), (0, box.top), color=POOL)
        write(box, tensor.shape, f"En_{number} {name}", ha="right")
        encoders[number] = box
    drawing.join(drawing.first(model.input.shape, x=-160), encoders[1])
    name, tensor = stages[5]  # the bottom of the U stands below the decoder, which begins with it
    box = drawing.box(200, tensor.shape, ENCODER, label=False)
    drawing.arrow((0, encoders[5].bottom), (0, box.y), (box.left, box.y), color=POOL)
    write(box, tensor.shape, f"En_6 {name}", ha="left")
    last_six[6] = box, tensor

    for number, (name, tensor) in zip(range(5, 0, -1), stages[6:], strict=True):
        box = drawing.up(box, tensor.shape, DECODER, label=False)
        drawing.join(encoders[number], box, SKIP)
        write(box, tensor.shape, f"De_{number} {name}", ha="left")
        last_six[number] = box, tensor

    joined = [layer.output for layer in model.layers if kind(layer) == "Concatenate"][-1]
    joint = drawing.box(490, joined.shape, DECODER)
    for number, (box, tensor) in last_six.items():
        shape = convs[id(tensor)].output.shape
        side = drawing.box(350, shape, DECODER, label=False)
        drawing.join(box, side)
        write(side, shape, f"side {number}", ha="left")
        if number == 1:
            drawing.join(side, joint, SKIP)
        else:
            below = joint.x, joint.bottom - TEXT - 2
            drawing.arrow((side.right, side.y), (joint.x, side.y), below, color=UP)
            drawing.text(460, side.y + TEXT / 2 + 4, f"×{joint.side // side.side}")
    kernel, _ = convs[id(joined)].kernel_size
    box = drawing.right(joint, model.outputs[0].shape, DECODER, kernel=kernel)
    drawing.text(box.x, box.top + TEXT / 2 + 2, "fused")
    y = last_six[6][0].bottom - 3 * TEXT
    drawing.legend(-150, y, ("→", INK, "RSU / conv 3×3"), POOLING)
    drawing.legend(90, y, UPSAMPLING, SKIPPING)
    drawing.legend(330, y, *SCALE)
    return drawing


def build(script, **settings):
    return importlib.import_module(script).build_model(image_size=IMAGE_SIZE, **settings)


def draw_all():
    """Every figure by its name."""
    u2net = build("U2Net-keras", self_attention=False)
    first_stage = u2net.layers[: [kind(layer) for layer in u2net.layers].index("Add") + 1]
    return {
        "fcn": draw_fcn(build("FCN-keras", pretrained="none")),
        "unet": draw_u(build("Unet-keras").layers, wide=1.1),
        "u2net": draw_u2net(u2net),
        "rsu": draw_u(first_stage, wide=2.2),
    }


if __name__ == "__main__":
    for name, drawing in draw_all().items():
        drawing.save(ROOT / "docs" / "figures" / f"{name}.svg")
