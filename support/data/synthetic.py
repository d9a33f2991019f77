"""Drawn animals in place of photographs, so that everything can be tried without a download.

Every shape is a limb: a segment from (ax, ay) to (bx, by) with a radius at either end, as the
tuple (ax, ay, a_radius, bx, by, b_radius). The distance of a point from it is easily estimated,
and so is that from an animal, the smallest distance from any of its limbs. The band around the
outline follows from that.
"""

import functools

from support.data.dataset import Source, Split

import numpy as np


def load_synthetic(counts=(720, 80, 160)):
    """`Source` of drawn animals in the form of Oxford-IIIT Pet: always the same, no download.

    Args:
        counts: numbers of pictures in training, validation and test.
    """

    def draw(number, at_least, split):
        image, trimap = draw_animal(np.random.default_rng((split, number)))
        return image, trimap - np.uint8(1), None

    return Source(
        title="synthetic pictures (drawn, not photographed)",
        stamp=str(counts),
        splits={
            name: Split(range(counts[split]), functools.partial(draw, split=split))
            for split, name in enumerate(("train", "validation", "test"))
        },
    )


def draw_animal(rng):
    """Draw an animal on a cluttered background.

    Fur and clutter take their colors from one palette, so color alone tells nothing; texture,
    shading, face and shape do.

    Args:
        rng: numpy.random.Generator, which decides the picture.

    Returns:
        uint8 picture (H, W, 3), sides of 110 to 189 pixels, and uint8 trimap (H, W, 1) as in
        Oxford-IIIT Pet: 1 animal, 2 background, 3 the band around the outline.
    """
    height, width = rng.integers(110, 190, 2)
    center = np.array([height, width])[:, None, None] / 2
    y, x = (np.mgrid[:height, :width] - center) / min(height, width)
    grain = rng.normal(0, 1, (height, width))
    palette = rng.uniform(0.1, 0.9, (6, 1)) + rng.uniform(-0.15, 0.15, (6, 3)) * [1, 0.3, 1]

    image = palette[0] + 0.15 * _smooth_noise(rng, height, width, 3, 3)
    for _ in range(rng.integers(6, 14)):
        ax, ay, bx, by = rng.uniform(-0.7, 0.7, 4)
        clutter = _limb_distance(x, y, (ax, ay, rng.uniform(0, 0.2), bx, by, rng.uniform(0, 0.2)))
        inside = clutter < 0
        rounding = rng.choice([0, 0.4]) * (np.clip(-clutter[inside] / 0.1, 0, 1) - 0.5)
        color = palette[rng.integers(6)] + rng.choice([0, 0.03]) * grain[inside][:, None]
        image[inside] = color * (1 + rounding[:, None])

    limbs, head = _random_animal(rng)
    zoom, angle, side = rng.uniform(0.45, 0.8), rng.normal(0, 0.25), rng.choice([-1, 1])
    x, y = (x - rng.normal(0, 0.1)) * side / zoom, (y - rng.normal(0, 0.06)) / zoom
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    shag = rng.uniform(0, 0.015) * _smooth_noise(rng, height, width, 24)[..., 0]
    outline = np.min([_limb_distance(x, y, limb) for limb in limbs], axis=0) + shag
    fur = _fur(rng, x, y, outline, grain, palette)
    image = np.where(outline[..., None] < 0, _with_face(fur, x, y, head), image)

    light = 1 + 0.25 * _smooth_noise(rng, height, width, 1)
    image = np.clip(image * light + rng.normal(0, 0.015, image.shape), 0, 1)
    band = 0.035 / zoom  # to either side of the outline, a little wider than in the photographs
    trimap = np.select([outline < -band, outline > band], [1, 2], 3)
    return np.rint(255 * image).astype(np.uint8), trimap.astype(np.uint8)[..., None]


def _limb_distance(x, y, limb):
    """Estimate the distance of each point (x, y) from a limb's surface, negative inside: (H, W)."""
    ax, ay, a_radius, bx, by, b_radius = limb
    dx, dy = bx - ax, by - ay
    along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
    radius = a_radius + along * (b_radius - a_radius)
    return np.hypot(x - ax - along * dx, y - ay - along * dy) - radius


def _smooth_noise(rng, height, width, cells, channels=1):
    """Interpolate random values in [-1, 1] from a coarse grid to (height, width, channels)."""

    def weights(length):
        position = np.linspace(0, cells, length)[:, None]
        return np.clip(1 - np.abs(position - np.arange(cells + 1)), 0, 1)

    grid = rng.uniform(-1, 1, (cells + 1, cells + 1, channels))
    rows = np.tensordot(weights(height), grid, 1)  # (height, cells + 1, channels)
    return weights(width) @ rows


def _random_animal(rng):
    """Choose a pose: the limbs of an animal (limbs, 6), and its head (x, y, radius)."""
    leg, tail = rng.uniform(0.45, 0.7), rng.uniform(-0.5, 0.3)
    pose = rng.choice(["standing", "sitting", "lying", "portrait"])
    if pose == "standing":
        head = (0.68, -0.34, 0.21)
        limbs = [(-0.45, 0, 0.21, 0.42, 0, 0.23), (0.42, 0, 0.17, *head[:2], 0.13)]
        limbs += [(x, 0.1, 0.1, x, leg, 0.06) for x in (-0.55, -0.38, 0.36, 0.52)]
        limbs += [(-0.6, -0.1, 0.07, -0.85, tail / 2, 0.06), (-0.85, tail / 2, 0.06, -1, tail, 0)]
    elif pose == "sitting":
        head = (0.12, -0.62, 0.24)
        limbs = [(-0.05, 0.3, 0.33, 0.06, -0.15, 0.23), (0.06, -0.1, 0.2, *head[:2], 0.15)]
        limbs += [(x, 0, 0.1, x + 0.06, 0.6, 0.07) for x in (0.1, 0.24)]
        limbs += [(-0.2, 0.5, 0.15, 0.1, 0.58, 0.08), (-0.3, 0.5, 0.08, -0.75, 0.4 + tail / 2, 0)]
    elif pose == "lying":
        head = (0.62, -0.16, 0.22)
        limbs = [(-0.5, 0.1, 0.24, 0.4, 0.1, 0.22), (0.4, 0, 0.18, *head[:2], 0.15)]
        limbs += [(0.35, 0.26, 0.09, 0.8, 0.3, 0.06), (-0.4, 0.25, 0.12, -0.05, 0.32, 0.06)]
        limbs += [(-0.65, 0.15, 0.07, -1, 0.25 + tail / 4, 0.04)]
    else:
        head = (0, -0.1, 0.42)
        limbs = [(0, 0.25, 0.35, rng.uniform(-0.2, 0.2), 1.2, 0.6)]
    x, y, r = head
    limbs += [(x, y, r, x + rng.uniform(-0.2, 0.4) * r, y + 0.35 * r, 0.7 * r)]  # muzzle
    spread, ear, tip = rng.uniform(0.5, 0.8), rng.choice([-1.5, -1.2, 0.4]), rng.uniform(0, 0.25)
    for side in (-1, 1):  # ears: pointed, round or hanging
        root, end = x + side * spread * r, x + side * (spread + 0.35) * r
        limbs += [(root, y - 0.65 * r, 0.3 * r, end, y + ear * r, tip * r)]
    return np.array(limbs) * rng.normal(1, 0.06, (len(limbs), 6)), head


def _fur(rng, x, y, outline, grain, palette):
    """Color a plain, striped, patched or pale-bellied coat, shaded to look round: (H, W, 3)."""
    warp = _smooth_noise(rng, *outline.shape, 5)[..., 0]
    plain = np.zeros_like(warp, bool)
    coats = [plain, np.sin(18 * x + 5 * warp) > 0.4, warp > 0.15, y > 0.15 + 0.1 * warp]
    first, second = rng.permutation(palette)[:2]
    color = np.where(coats[rng.integers(len(coats))][..., None], second, first)
    slant = rng.integers(-1, 2)
    hair = sum(np.roll(grain, (step, step * slant), (0, 1)) for step in range(4))
    color = color + rng.uniform(0.02, 0.05) * hair[..., None]
    return color * (0.65 + 0.5 * np.clip(-outline[..., None] / 0.2, 0, 1))


def _with_face(color, x, y, head):
    """Draw eyes and nose of a head (x, y, radius) into the fur, color (H, W, 3), and return it."""
    head_x, head_y, r = head
    features = [(side, -0.1, size) for size in (0.17, 0.11) for side in (-0.42, 0.42)]
    for across, down, size in [*features, (0, 0.4, 0.14)]:
        inside = np.hypot(x - head_x - across * r, y - head_y - down * r) < size * r
        color[inside] = [0.55, 0.6, 0.2] if size == 0.17 else 0.05
    return color
