"""Random flips, scales, rotations and shifts."""

from support.geometry import random_affine, warp

import numpy as np
import pytest


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_geometry_stays_in_the_documented_ranges_and_uses_all_of_them(strength):
    size, center = 65, 32
    found = []
    draws = np.random.default_rng(0).uniform(-1, 1, (300, 5)).astype(np.float32)
    for a, b, c, d, e, f, *rest in random_affine(draws, size, strength).numpy():
        assert rest == [0, 0]
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


def test_what_comes_in_from_outside_is_a_mirror_image():
    """Shifted to the right by two pixels, the first two columns are seen again, reversed."""
    picture = np.arange(6, dtype=np.uint8)[None, None, :, None].repeat(6, axis=1)
    shift = np.array([[1, 0, -2, 0, 1, 0, 0, 0]], np.float32)
    for interpolation in ("NEAREST", "BILINEAR"):
        moved = warp(picture, shift, interpolation).numpy()
        assert moved[0, 3, :, 0].tolist() == [1, 0, 0, 1, 2, 3]
