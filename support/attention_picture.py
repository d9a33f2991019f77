"""A figure of where a network with self-attention looks."""

from support.run_folder import write
from support.tiles import cut_out

import numpy as np
from keras import ops
from matplotlib.figure import Figure


def plot_attention(path, attention, model, data, rows=5):
    """Light up where the surest place of each class looks, over the first test pictures.

    Args:
        path: Path of the file to write.
        attention: keras.Model from pictures to attention scores (N, heads, P, P, Q, Q): how much
            a position of a P x P grid looks at each of a Q x Q grid; the latter sum to 1.
        model: keras.Model from pictures to probabilities.
        data: `Data`.
        rows: number of pictures.
    """
    images = [image for image, _ in data.test.unbatch().take(rows).as_numpy_iterator()]
    if data.tile:
        images = [cut_out(image, 0, 0, data.tile) for image in images]
    images = np.stack(images)
    one_by_one = [images[number : number + 1] for number in range(len(images))]  # for memory's sake
    scores = np.concatenate([ops.convert_to_numpy(attention(one)) for one in one_by_one]).mean(1)
    probabilities = np.concatenate([ops.convert_to_numpy(model(one)) for one in one_by_one])
    count, side, grid = len(images), images.shape[1], scores.shape[1]
    cell = side // grid
    names = data.class_names[:6]  # more would be too small to see
    columns = 1 + len(names)
    figure = Figure(figsize=(2.3 * columns, 2.4 * count + 0.6), layout="constrained")
    axes = figure.subplots(count, columns, squeeze=False)
    cells = (count, grid, cell, grid, cell, probabilities.shape[-1])
    sureness = probabilities.reshape(cells).mean(axis=(2, 4)).reshape(count, grid * grid, -1)
    for row, image, looks, sure in zip(axes, images, scores, sureness, strict=True):
        row[0].imshow(image)
        row[0].set_title("picture", fontsize=9)
        for axis, name, position in zip(row[1:], names, sure.argmax(0), strict=False):
            y, x = np.divmod(position, grid)
            axis.imshow(image * (0.15 + 0.85 * _light(looks[y, x], side)))
            axis.plot(
                (x + 0.5) * cell, (y + 0.5) * cell, "o", color="cyan", markeredgecolor="black"
            )
            axis.set_title(f"surest {name} looks at", fontsize=9)
        for axis in row:
            axis.axis("off")
    figure.suptitle(f"Self-attention on {data.title}: what the marked place looks at is lit")
    write(path, figure.savefig)


def _light(look, side):
    """Shares of attention (Q, Q) as light from 0 to 1, (side, side, 1), smooth as a photograph."""
    light = ops.image.resize(look[..., None], (side, side), interpolation="bicubic")
    return np.clip(ops.convert_to_numpy(light) / look.max(), 0, 1)
