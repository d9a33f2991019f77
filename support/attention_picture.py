"""A figure of where a network with self-attention looks."""

from support.run_folder import write
from support.tiles import cut_out

import numpy as np
from keras import ops
from matplotlib.figure import Figure


def plot_attention(path, attention, model, data, rows=5):
    """Draw where the surest position of each class looks, over the first test pictures.

    Args:
        path: Path of the file to write.
        attention: keras.Model from pictures to attention scores (N, heads, P, P, P, P): how much
            a position of a P x P grid (two axes) looks at each other one (two more, summing to 1).
        model: keras.Model from pictures to probabilities.
        data: `Data`.
        rows: number of pictures.
    """
    images = [image for image, _ in data.test.unbatch().take(rows).as_numpy_iterator()]
    if data.tile:
        images = [cut_out(image, 0, 0, data.tile) for image in images]
    images = np.stack(images)
    scores = ops.convert_to_numpy(attention(images)).mean(axis=1)
    probabilities = ops.convert_to_numpy(model(images))
    count, side, grid = len(images), images.shape[1], scores.shape[-1]
    scores = scores.reshape(count, grid * grid, grid * grid)
    cell = side // grid
    names = data.class_names[:6]  # more would be too small to see
    columns = 1 + len(names)
    figure = Figure(figsize=(2.3 * columns, 2.4 * count + 0.6), layout="constrained")
    axes = figure.subplots(count, columns, squeeze=False)
    limits = {"vmin": 0, "vmax": scores.max()}
    shape = (count, grid, cell, grid, cell, probabilities.shape[-1])
    sureness = probabilities.reshape(shape).mean(axis=(2, 4)).reshape(count, grid * grid, -1)
    for row, image, looks, sure in zip(axes, images, scores, sureness, strict=True):
        row[0].imshow(image)
        row[0].set_title("picture", fontsize=9)
        for axis, name, position in zip(row[1:], names, sure.argmax(0), strict=False):
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
