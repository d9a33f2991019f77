"""Pictures cut into squares, and put together again."""

import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import common
from support.data.batches import DRAWS
from support.data.image_io import VOID
from support.data.tiles import Tiles, cut_out
from support.inference.sliding_window import predict_in_tiles

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import mapped

# Lower and narrower than a tile of 32, as large, a pixel more, twice and more, one pixel.
SIZES = [(32, 32), (33, 32), (64, 96), (37, 130), (130, 37), (5, 100), (100, 5), (7, 9), (1, 1)]


def located(height, width, number=0):
    """A picture whose pixels say where they are, and a mask that follows from it."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    image = np.stack([rows, columns, np.full_like(rows, number)], axis=-1)
    return image, truth_of(image)


def truth_of(image):
    """The class, 0 to 4, that belongs to a pixel of `located`."""
    return (image.astype(int) @ [3, 1, 2] % 5).astype(np.uint8)[..., None]


def random_image(height, width):
    return np.random.default_rng(0).random((height, width, 3), np.float32)


def unchanged(squares):
    """A network that returns its input."""
    return squares


@pytest.mark.parametrize("size", [32, 13, 1])
def test_every_pixel_of_every_picture_counts_once(size):
    sizes = [one for one in SIZES if size > 1 or one[0] * one[1] < 100]  # 1: a tile each pixel
    tiles = Tiles(mapped([located(*one, n) for n, one in enumerate(sizes)]), size)
    images, masks = tiles.take(np.arange(len(tiles)))
    assert images.shape == (len(tiles), size, size, 3)
    assert masks.shape == (len(tiles), size, size, 1)
    assert images.dtype == masks.dtype == np.uint8
    known = masks[..., 0] != VOID
    np.testing.assert_array_equal(masks[known], truth_of(images[known]))
    found = sorted(map(tuple, images[known].tolist()))
    assert found == [
        (row, column, number)
        for row in range(130)
        for column in range(130)
        for number, (height, width) in enumerate(sizes)
        if row < height and column < width
    ]


def test_no_more_tiles_than_needed_and_as_many_as_fit_the_picture():
    counts = [len(Tiles(mapped([located(*size)]), 32)) for size in SIZES]
    assert counts == [1, 2, 6, 10, 10, 4, 4, 1, 1]


def test_what_is_missing_is_a_mirror_image_and_void_in_the_mask():
    image = np.uint8([[10, 20, 30], [40, 50, 60]])[..., None].repeat(3, axis=-1)
    mask = np.uint8([[0, 1, 2], [2, VOID, 0]])[..., None]
    tiles = Tiles(mapped([(image, mask)]), 5)
    mirrored = [
        [10, 20, 30, 20, 10],
        [40, 50, 60, 50, 40],
        [10, 20, 30, 20, 10],
        [40, 50, 60, 50, 40],
        [10, 20, 30, 20, 10],
    ]
    void = [VOID] * 5
    wanted = [[0, 1, 2, VOID, VOID], [2, VOID, 0, VOID, VOID], void, void, void]
    for draws in (None, np.float32([[0.3, -0.8]])):
        images, masks = tiles.take(np.array([0]), draws)
        for channel in range(3):
            assert images[0, ..., channel].tolist() == mirrored
        assert masks[0, ..., 0].tolist() == wanted
    assert mask[0, 0] == 0  # what is kept was not written to
    assert cut_out(image, 0, 1, 2)[..., 0].tolist() == [[20, 30], [50, 60]]


def test_random_squares_lie_inside_and_fit_their_mask():
    """A square knows where it is: its corner says all other pixels."""
    tiles = Tiles(mapped([located(50, 41, n) for n in range(3)]), 32)
    numbers = np.random.default_rng(1).integers(0, len(tiles), 200)
    draws = np.random.default_rng(2).uniform(-1, 1, (200, 2)).astype(np.float32)
    images, masks = tiles.take(numbers, draws)
    np.testing.assert_array_equal(masks, truth_of(images))
    corners = images[:, 0, 0].astype(int)
    for image, (top, left, number) in zip(images, corners, strict=True):
        whole = located(50, 41, number)[0]
        np.testing.assert_array_equal(image, whole[top : top + 32, left : left + 32])
    assert set(corners[:, 0]) == set(range(19))  # wherever there is room, and nowhere else
    assert set(corners[:, 1]) == set(range(10))
    # A picture of four tiles comes four times an epoch.
    np.testing.assert_array_equal(corners[:, 2], numbers // 4)
    again = tiles.take(numbers, draws)
    np.testing.assert_array_equal(images, again[0])
    np.testing.assert_array_equal(masks, again[1])


def test_draws_from_one_end_to_the_other_reach_all_places_equally_often():
    tiles = Tiles(mapped([located(36, 34)]), 32)
    draws = np.linspace(-1, 1, 3001, dtype=np.float32)
    images, _ = tiles.take(np.zeros(3001, int), np.stack([draws, -draws], axis=-1))
    tops, lefts = images[:, 0, 0, :2].astype(int).T
    assert (tops[0], tops[-1]) == (0, 4)
    assert (lefts[0], lefts[-1]) == (2, 0)
    np.testing.assert_allclose(np.bincount(tops), [600] * 5, atol=2)
    np.testing.assert_allclose(np.bincount(lefts), [1000] * 3, atol=2)


@pytest.mark.parametrize(("tile", "batch_size"), [(32, 1), (32, 4), (32, 100), (21, 8)])
@pytest.mark.parametrize("size", SIZES)
def test_a_network_that_returns_its_input_gives_the_picture_back(size, tile, batch_size):
    image = random_image(*size)
    bands = list(predict_in_tiles(unchanged, image, tile, batch_size))
    assert all(band.shape[1:] == image.shape[1:] for band in bands)
    assert max(len(band) for band in bands) <= tile
    np.testing.assert_allclose(np.concatenate(bands), image, atol=1e-6)


def test_the_network_always_sees_batches_of_one_shape():
    """Whatever is left over: another shape would have to be compiled anew."""
    seen = []

    def noting(squares):
        seen.append(squares.shape)
        return squares

    list(predict_in_tiles(noting, random_image(100, 90), 32, batch_size=8))
    assert len(seen) == 4  # 6 by 5 tiles
    assert set(seen) == {(8, 32, 32, 3)}


def test_overlapping_tiles_are_blended_by_a_gaussian():
    """Two tiles of 8, at 0 and 4, and a sigma of 1: the weights of hand and table."""
    image = np.zeros((8, 12, 3), np.float32)
    image[:, 4:] = 1  # a tile that begins here says 1, that before it says 0
    (found,) = predict_in_tiles(lambda x: np.ones_like(x) * x[:, :1, :1], image, 8)

    def weight(distance):
        return np.exp(-(distance**2) / 2)

    middle = [
        weight(column + 0.5 - 8) / (weight(column + 0.5 - 8) + weight(column + 0.5 - 4))
        for column in range(4, 8)
    ]
    np.testing.assert_allclose(found[3, :, 0], [0] * 4 + middle + [1] * 4, atol=1e-6)


def test_what_a_network_says_at_the_border_of_a_tile_hardly_counts():
    """Right in the middle half, wrong all around: the picture is right but for its own edge."""
    image = np.float32(random_image(32, 200)[..., :2] < 0.5)
    image[..., 1] = 1 - image[..., 0]

    def wrong_outside(squares):
        right = squares.copy()
        right[:, :, :8], right[:, :, 24:] = 1 - squares[:, :, :8], 1 - squares[:, :, 24:]
        return right

    found = np.concatenate(list(predict_in_tiles(wrong_outside, image, 32)))
    right = found.argmax(-1) == image.argmax(-1)
    assert right[:, 8:-8].all()
    assert not right[:, :8].any()  # there only one tile has a say


def test_memory_is_needed_for_a_band_and_not_for_the_picture():
    def peak(height):
        image = np.zeros((height, 64, 3), np.float32)
        tracemalloc.start()
        rows = sum(len(band) for band in predict_in_tiles(unchanged, image, 32))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert rows == height
        return most

    assert peak(4000) < 1.5 * peak(200)


def pointwise_model():
    """Class 0 for red, 1 for green, 2 for blue pixels, each by itself."""
    model = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1, activation="softmax")]
    )
    model.layers[0].set_weights([10 * np.eye(3)[None, None], np.zeros(3)])
    return model


def colored(ids):
    """A picture, uint8, with the color that `pointwise_model` wants for each class."""
    return np.uint8(255) * np.eye(3, dtype=np.uint8)[ids]


def test_confusions_of_whole_pictures_are_those_counted_by_hand():
    seen = np.zeros((40, 50), int)  # what the model will say
    seen[:10], seen[30:, 20:] = 1, 2
    truth = np.zeros((40, 50, 1), np.uint8)
    truth[:8], truth[30:, 25:], truth[0, 0] = 1, 2, VOID
    low = np.full((7, 90), 2)
    low[:, 80:] = 0
    pictures = [(colored(seen), truth), (colored(low), np.full((7, 90, 1), 2, np.uint8))]
    batches = tf.data.Dataset.from_generator(
        lambda: ((np.float32(image / 255)[None], mask[None]) for image, mask in pictures),
        output_signature=(
            tf.TensorSpec((1, None, None, 3), tf.float32),
            tf.TensorSpec((1, None, None, 1), tf.uint8),
        ),
    )
    found, ious = common.evaluate(pointwise_model(), batches, 3, tile=16)
    first = [
        [22 * 50 + 10 * 25 - 150, 2 * 50, 10 * 5],
        [0, 8 * 50 - 1, 0],  # but for the void pixel
        [0, 0, 10 * 25],
    ]
    second = [[0, 0, 0], [0, 0, 0], [70, 0, 560]]
    assert found.tolist() == np.add(first, second).tolist()
    assert ious[1] == pytest.approx((0 + 560 / 630) / 2)


@pytest.fixture
def tiles_flags(tmp_path):
    """A folder of pictures of many sizes, masks with void, and what `load_data` needs for it."""
    rng = np.random.default_rng(0)
    for split, sizes in {"train": SIZES[2:5] * 2, "val": SIZES[:8], "test": SIZES[3:6]}.items():
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        for number, size in enumerate(sizes):
            seen, mask = rng.integers(0, 3, (2, *size), np.uint8)
            mask[rng.random(size) < 0.1] = VOID
            for kind, pixels in {"images": colored(seen), "masks": mask[..., None]}.items():
                encoded = tf.io.encode_png(pixels)
                (tmp_path / split / kind / f"{number}.png").write_bytes(encoded.numpy())
    runs = str(tmp_path / "runs")
    options = {"image_size": 32, "fit": "tiles", "batch_size": 4, "seed": 1, "augmentation": 0.0}
    return SimpleNamespace(dataset=str(tmp_path), runs_dir=runs, **options)


def test_splits_of_tiles_are_squares_but_for_whole_test_pictures(tiles_flags):
    """A model that sees each pixel by itself must get the same scores in tiles as on the files."""
    data = common.load_data(tiles_flags)
    assert data.tile == 32
    assert [len(split) for split in (data.train, data.validation, data.test)] == [13, 10, 3]
    assert {mask.shape for _, mask in data.train.as_numpy_iterator()} == {(4, 32, 32, 1)}
    for name, split, tile in (("val", data.validation, None), ("test", data.test, 32)):
        by_hand = np.zeros((3, 3), int)
        folder = Path(tiles_flags.dataset) / name
        for image in (folder / "images").iterdir():
            files = image, folder / "masks" / image.name
            image, mask = (tf.io.decode_png(file.read_bytes()).numpy() for file in files)
            known = mask[..., 0] != VOID
            np.add.at(by_hand, (mask[known, 0], image[known].argmax(-1)), 1)
        found, _ = common.evaluate(pointwise_model(), split, 3, tile)
        np.testing.assert_array_equal(found, by_hand)
    sizes = [image.shape[1:3] for image, _ in data.test.as_numpy_iterator()]
    assert sizes == SIZES[3:6]


def test_the_last_two_draws_say_where_a_square_is_cut():
    """The others flip and turn it, and would go with the place."""
    tiles = Tiles(mapped([located(50, 41)]), 32)
    draws = np.random.default_rng(0).uniform(-1, 1, (9, DRAWS)).astype(np.float32)
    numbers = np.zeros(9, int)
    images, wanted = (tiles.take(numbers, some)[0] for some in (draws, draws[:, -2:]))
    np.testing.assert_array_equal(images, wanted)
