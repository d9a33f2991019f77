"""A figure of where a network with self-attention looks."""

from support.run_folder import write

import numpy as np
from keras import ops
from matplotlib.figure import Figure


def plot_attention(path, attention, model, data, rows=5):
    """Draw where the surest position of each class looks, over the first test pictures.

    Args:
        path: Path of the file to write.
        attention: keras.Model from pictures to attention scores (N, heads, P, P), which sum to 1
            over the last axis; P positions are a square grid over the picture.
        model: keras.Model from pictures to a list of probabilities; the first is looked at.
        data: `Data`.
        rows: number of pictures.
    """
    images = next(iter(data.test.unbatch().batch(rows)))[0].numpy()
    scores = ops.convert_to_numpy(attention(images)).mean(axis=1)
    probabilities = ops.convert_to_numpy(model(images)[0])
    count, side, grid = len(images), images.shape[1], round(scores.shape[-1] ** 0.5)
    cell = side // grid
    columns = 1 + len(data.class_names)
    figure = Figure(figsize=(2.3 * columns, 2.4 * count + 0.6), layout="constrained")
    axes = figure.subplots(count, columns, squeeze=False)
    limits = {"vmin": 0, "vmax": scores.max()}
    shape = (count, grid, cell, grid, cell, len(data.class_names))
    sureness = probabilities.reshape(shape).mean(axis=(2, 4)).reshape(count, grid * grid, -1)
    for row, image, looks, sure in zip(axes, images, scores, sureness, strict=True):
        row[0].imshow(image)
        row[0].set_title("picture", fontsize=9)
        for axis, name, position in zip(row[1:], data.class_names, sure.argmax(0), strict=True):
            heat = looks[position].reshape(grid, grid)
            axis.imshow(image.mean(axis=-1), cmap="gray")
            drawn = axis.imshow(heat, "inferno", alpha=0.6, extent=(0, side, side, 0), **limits)
            y, x = np.divmod(position, grid)
            axis.plot(
                (x + 0.5) * cell, (y + 0.5) * cell, "o", color="cyan", markeredgecolor="black"
            )
            axis.set_title(f"surest {name}: most {heat.max():.0%}", fontsize=9)
        for axis in row:
            axis.axis("off")
    figure.colorbar(drawn, ax=axes, shrink=0.4, label="share of the attention")
    figure.suptitle(f"Self-attention on {data.title}: where the marked position looks")
    write(path, figure.savefig)
