"""Random flips, scales, rotations and shifts."""

from support.data.augmentation import change, random_affine, random_colors

import numpy as np
import pytest


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_geometry_stays_in_the_documented_ranges_and_uses_all_of_them(strength):
    size, center = 65, 32
    found = []
    draws = np.random.default_rng(0).uniform(-1, 1, (300, 5)).astype(np.float32)
    for (a, b, c), (d, e, f) in random_affine(draws, size, strength).numpy():
        flip = np.sign(a)
        scale = np.sqrt(abs(a * e - b * d))
        assert a * e - b * d == pytest.approx(flip * scale**2, rel=1e-4)
        assert (a * flip, d * flip) == pytest.approx((e, -b), abs=1e-5)  # turned, not sheared
        shift = a * center + b * center + c - center, d * center + e * center + f - center
        found.append([flip, np.log(scale), np.degrees(np.arctan2(-b, e)), *np.divide(shift, size)])
    flip, scale, angle, right, down = np.transpose(found)
    assert 0.4 < (flip > 0).mean() < 0.6
    for values, limit in [(scale, np.log(1.5)), (angle, 15), (right, 0.15), (down, 0.15)]:
        assert 0.95 * limit * strength < values.max() < 1.001 * limit * strength
        assert -1.001 * limit * strength < values.min() < -0.95 * limit * strength


def moved(picture, transform, matrix=None, offset=(0, 0, 0)):
    """One picture (S, S) as all three channels and as mask, changed."""
    size = len(picture)
    images = np.broadcast_to(np.uint8(picture)[None, ..., None], (1, size, size, 3))
    matrix = np.eye(3) if matrix is None else matrix
    arguments = [np.float32([one]) for one in (transform, matrix, offset)]
    image, mask = change(images, images[..., :1], *arguments)
    return image.numpy()[0], mask.numpy()[0, ..., 0]


def test_what_comes_in_from_outside_is_a_mirror_image():
    """Shifted to the right by two pixels, the first two columns are seen again, reversed."""
    image, mask = moved([range(6)] * 6, [[1, 0, -2], [0, 1, 0]])
    assert image[3, :, 0].tolist() == mask[3].tolist() == [1, 0, 0, 1, 2, 3]


def test_pictures_are_interpolated_and_masks_are_not():
    picture = np.random.default_rng(0).integers(0, 256, (8, 8))
    image, mask = moved(picture, [[1, 0, 0.25], [0, 1, 0.75]])  # seen from right below
    a, b, c, d = picture[:-1, :-1], picture[:-1, 1:], picture[1:, :-1], picture[1:, 1:]
    wanted = 0.25 * (0.75 * a + 0.25 * b) + 0.75 * (0.75 * c + 0.25 * d)
    np.testing.assert_allclose(image[:-1, :-1, 1], wanted, atol=0.51)
    np.testing.assert_array_equal(mask[:-1, :-1], c)  # to the left, and below


def test_every_class_and_void_come_through():
    picture = np.arange(256).reshape(16, 16)
    _, mask = moved(picture, [[-1, 0, 15], [0, 1, 0]])
    np.testing.assert_array_equal(mask, picture[:, ::-1])


def test_colors_by_hand():
    matrix = [[1, 0.5, 0], [0, 0.5, 0], [0.25, 0, 1]]  # from red, green, blue, to them
    image, mask = moved([[40, 240]] * 2, [[1, 0, 0], [0, 1, 0]], matrix, (3, 10, 20))
    assert image[0].tolist() == [[53, 50, 60], [255, 250, 255]]  # 303 and 260 are beyond
    assert mask[0].tolist() == [40, 240]


def test_saturation_leaves_how_bright_a_color_looks():
    color, looks = np.float32([200, 100, 50]), np.float32([0.299, 0.587, 0.114])
    images = np.uint8(color).reshape(1, 1, 1, 3)
    matrix, offset = random_colors(np.float32([[0, 1, 0]]), images, 1.0)
    changed = color @ matrix.numpy()[0] + offset.numpy()[0]
    assert abs(changed - color).max() > 10
    assert changed @ looks == pytest.approx(color @ looks, rel=1e-4)


def test_each_of_the_five_draws_changes_one_thing():
    """In the order of the draws: flip, scale, angle, right, down; a picture of 65 pixels."""
    found = []
    for one in np.eye(5, dtype=np.float32):
        ((a, b, c), (d, e, f)) = random_affine(one[None], 65, 1.0).numpy()[0]
        shift = 32 * (a + b) + c - 32, 32 * (d + e) + f - 32
        found.append([np.hypot(a, d), np.degrees(np.arctan2(d, a)), *np.divide(shift, 65)])
    wanted = [[1, 0, 0, 0], [1.5, 0, 0, 0], [1, 15, 0, 0], [1, 0, 0.15, 0], [1, 0, 0, 0.15]]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_each_of_the_three_draws_changes_one_thing_about_colors():
    """Contrast about the mean colors (150, 100, 50), saturation about gray, brightness for all."""
    images = np.uint8([[[(200, 100, 50), (100, 100, 50)]]])
    pixels, found = images[0, 0], []
    for one in np.eye(3, dtype=np.float32):
        matrix, offset = (part.numpy()[0] for part in random_colors(one[None], images, 1.0))
        found.append(pixels @ matrix + offset)
    contrast, saturation, brightness = found
    np.testing.assert_allclose(contrast, [(220, 100, 50), (80, 100, 50)], atol=1e-3)
    gray = pixels @ [[0.299], [0.587], [0.114]]
    np.testing.assert_allclose(saturation, gray + 1.4 * (pixels - gray), atol=1e-3)
    np.testing.assert_allclose(brightness, pixels + 51.0, atol=1e-3)
