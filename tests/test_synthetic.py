"""The drawn animals."""

import common
from support.data import synthetic
from support.data.dataset import PET_CLASSES
from support.data.synthetic import (
    _fur,
    _limb_distance,
    _random_animal,
    draw_animal,
    load_synthetic,
)

import numpy as np
import pytest


def pictures_of(split):
    return [split.decode(record, None)[:2] for record in split.records]


def test_drawn_animals():
    trimaps = []
    for number in range(20):
        image, trimap = draw_animal(np.random.default_rng(number))
        again, _ = draw_animal(np.random.default_rng(number))
        np.testing.assert_array_equal(image, again)
        assert image.dtype == trimap.dtype == np.uint8
        assert image.shape == (*trimap.shape[:2], 3)
        assert set(np.unique(trimap)) == {1, 2, 3}
        # The border separates: no animal pixel touches a background pixel.
        for axis in (0, 1):
            ahead = np.diff(trimap.astype(int), axis=axis)
            behind = np.take(trimap, range(trimap.shape[axis] - 1), axis=axis)
            assert not ((ahead == 1) & (behind == 1)).any()  # 1 next to 2
            assert not ((ahead == -1) & (behind == 2)).any()
        trimaps.append(trimap)
    assert len({trimap.shape for trimap in trimaps}) > 10
    shares = np.mean([[np.mean(trimap == k) for k in (1, 2, 3)] for trimap in trimaps], axis=0)
    assert shares.min() > 0.08


def test_every_picture_has_an_animal_of_its_own(monkeypatch):
    given = []
    monkeypatch.setattr(
        synthetic, "_random_animal", lambda rng: given.append(rng) or _random_animal(rng)
    )
    rng = np.random.default_rng(0)
    draw_animal(rng)
    assert given == [rng]


def test_noise_is_interpolated_between_the_points_of_its_grid():
    noise = synthetic._smooth_noise(np.random.default_rng(0), 41, 31, 5, 2)
    grid = np.random.default_rng(0).uniform(-1, 1, (6, 6, 2))
    np.testing.assert_allclose(noise[::8, ::6], grid, atol=1e-9)
    np.testing.assert_allclose(noise[4, ::6], (grid[0] + grid[1]) / 2, atol=1e-9)
    np.testing.assert_allclose(noise[::8, 3], (grid[:, 0] + grid[:, 1]) / 2, atol=1e-9)


@pytest.mark.slow
def test_color_alone_does_not_solve_the_drawn_pictures():
    """The best guess by color (512 colors, counted on 150 pictures) stays below 0.5."""
    splits = load_synthetic((150, 1, 60)).splits

    def colors_and_classes(split):
        pixels = [(image // 32, mask) for image, mask in pictures_of(split)]
        colors = np.concatenate([(i @ np.array([64, 8, 1])).ravel() for i, _ in pixels])
        return colors, np.concatenate([mask.ravel() for _, mask in pixels]).astype(int)

    colors, classes = colors_and_classes(splits["train"])
    counts = np.bincount(colors * 3 + classes, minlength=512 * 3).reshape(512, 3)
    weighted = counts / counts.sum(axis=0)  # the fairer guess: rare classes count as much
    colors, classes = colors_and_classes(splits["test"])
    for table in (counts, weighted):
        guess = table.argmax(axis=1)[colors]
        confusion = np.bincount(classes * 3 + guess, minlength=9).reshape(3, 3)
        scores = common.scores_from_confusion(confusion, PET_CLASSES)
        assert scores["mean_iou"] < 0.5


def test_drawn_splits_are_always_the_same_and_share_no_picture():
    source, source_again = (load_synthetic((3, 2, 1)) for _ in range(2))
    assert source.stamp == source_again.stamp
    splits, again = source.splits, source_again.splits
    assert list(splits) == ["train", "validation", "test"]
    assert [len(split.records) for split in splits.values()] == [3, 2, 1]
    seen = set()
    for number, (name, split) in enumerate(splits.items()):
        pairs = zip(*map(pictures_of, (split, again[name])), strict=True)
        for index, ((image, mask), (image_again, mask_again)) in enumerate(pairs):
            drawn, trimap = draw_animal(np.random.default_rng((number, index)))
            for one in (image, image_again):
                np.testing.assert_array_equal(one, drawn)
            for one in (mask, mask_again):
                np.testing.assert_array_equal(one, trimap - 1)
            assert mask.dtype == np.uint8
            seen.add(image.tobytes())
    assert len(seen) == 6


def test_the_animal_is_in_the_middle_and_the_default_has_960_pictures():
    trimaps = [draw_animal(np.random.default_rng(number))[1] for number in range(40)]
    corners = [trimap[at] for trimap in trimaps for at in ((0, 0), (0, -1), (-1, 0), (-1, -1))]
    assert np.mean(np.equal(corners, 2)) > 0.8  # 2 is background, 1 the animal
    middles = [trimap[trimap.shape[0] // 2, trimap.shape[1] // 2] for trimap in trimaps]
    assert np.mean(np.equal(middles, 1)) > 0.5
    splits = load_synthetic().splits
    assert [len(split.records) for split in splits.values()] == [720, 80, 160]


def test_a_limb_has_its_own_radius_at_either_end():
    x = np.array([[-3.0, 7.0]])
    found = _limb_distance(x, 0 * x, (0, 0, 1, 4, 0, 0.5))
    np.testing.assert_allclose(found, [[2, 2.5]])


def test_a_coat_lies_as_the_animal_does(monkeypatch):
    seen = []

    def noting(rng, x, y, *others):
        seen.append((x, y))
        return _fur(rng, x, y, *others)

    monkeypatch.setattr(synthetic, "_fur", noting)
    draw_animal(np.random.default_rng(0))
    ((x, y),) = seen  # turned by less than 45 degrees
    assert np.abs(np.diff(x, axis=1)).mean() > np.abs(np.diff(x, axis=0)).mean()
    assert np.abs(np.diff(y, axis=0)).mean() > np.abs(np.diff(y, axis=1)).mean()


def test_an_ear_is_on_either_side_of_the_head():
    animals = [_random_animal(np.random.default_rng(number)) for number in range(40)]
    left, right = np.mean([limbs[-2:, 0] - head[0] for limbs, head in animals], axis=0)
    assert left < -0.1
    assert right > 0.1


def test_a_coat_may_have_any_color_of_the_palette():
    y, x = np.mgrid[-1:1:20j, -1:1:20j]
    palette, seen = np.arange(6)[:, None] * np.ones(3), set()
    for number in range(40):
        coat = _fur(np.random.default_rng(number), x, y, 0 * x - 1, 0 * x, palette)
        seen |= {*(coat / 1.15).round(3).ravel().tolist()}  # deep inside: the light is 1.15
    assert seen == set(range(6))


def test_the_band_lies_on_both_sides_of_the_outline(monkeypatch):
    seen = []

    def noting(rng, x, y, outline, *others):
        seen.append(outline)
        return _fur(rng, x, y, outline, *others)

    monkeypatch.setattr(synthetic, "_fur", noting)
    for number in range(5):
        _, trimap = draw_animal(np.random.default_rng(number))
        band = seen[-1][trimap[..., 0] == 3]
        assert -band.min() == pytest.approx(band.max(), rel=0.05)
