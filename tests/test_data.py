"""Loading, the pipeline and the drawn pictures."""

import common
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from conftest import TEST_COUNT, TRAIN_COUNT

from synthetic_pets import draw_animal


def batches(dataset, count):
    return [(image.numpy(), mask.numpy()) for image, mask in dataset.take(count)]


def test_splits_are_disjoint_and_complete(pets):
    splits, _ = common.load_oxford_iiit_pet(str(pets))
    counts = {name: int(split.cardinality()) for name, split in splits.items()}
    assert counts == {"train": TRAIN_COUNT * 9 // 10, "validation": 4, "test": TEST_COUNT}
    pictures = [image.tobytes() for s in splits.values() for image, _ in s.as_numpy_iterator()]
    assert len(set(pictures)) == TRAIN_COUNT + TEST_COUNT
    again = common.load_oxford_iiit_pet(str(pets))[0]["validation"].as_numpy_iterator()
    assert [image.tobytes() for image, _ in again] == pictures[counts["train"] :][:4]


def test_pictures_and_masks_come_out_as_they_went_in(pets):
    """The mask without loss, ids one less than the trimap's; the picture as JPEG leaves it."""
    drawn = [draw_animal(np.random.default_rng(n)) for n in range(TRAIN_COUNT, 46)]
    found = 0
    for image, mask in common.load_oxford_iiit_pet(str(pets))[0]["test"].as_numpy_iterator():
        assert image.dtype == mask.dtype == np.uint8
        match = [one for one, trimap in drawn if np.array_equal(trimap - 1, mask)]
        assert len(match) == 1
        assert np.abs(match[0].astype(int) - image).mean() < 12
        found += np.array_equal(match[0], image)  # the PNG that calls itself .jpg has no loss
    assert found == 1


def test_batches_have_the_documented_form(pet_flags):
    data = common.load_data(pet_flags)
    assert data.steps_per_epoch == 9
    for split in (data.train_from(0), data.validation, data.test):
        for image, mask in batches(split, 3):
            assert image.shape[1:] == (64, 64, 3)
            assert mask.shape == (*image.shape[:3], 1)
            assert image.dtype == np.float32
            assert mask.dtype == np.uint8
            assert image.min() >= 0
            assert 0.5 < image.max() <= 1
            assert set(np.unique(mask)) <= {0, 1, 2}


def test_same_seed_same_batches(pet_flags):
    first = batches(common.load_data(pet_flags).train_from(0), 20)
    second = batches(common.load_data(pet_flags).train_from(0), 20)
    for (image, mask), (image_again, mask_again) in zip(first, second, strict=True):
        np.testing.assert_array_equal(image, image_again)
        np.testing.assert_array_equal(mask, mask_again)
    pet_flags.seed = 8
    other = batches(common.load_data(pet_flags).train_from(0), 1)
    assert not np.array_equal(first[0][0], other[0][0])


def test_a_later_epoch_is_the_same_whether_or_not_the_earlier_ones_were_read(pet_flags):
    data = common.load_data(pet_flags)
    through = batches(data.train_from(0), 20)[18:]
    straight = batches(data.train_from(2), 2)
    for (image, mask), (image_again, mask_again) in zip(through, straight, strict=True):
        np.testing.assert_array_equal(image, image_again)
        np.testing.assert_array_equal(mask, mask_again)


def test_an_epoch_has_every_picture_once_and_no_two_epochs_are_alike(pet_flags):
    pet_flags.augmentation = 0.0
    steps = 9
    images = np.concatenate(
        [image for image, _ in batches(common.load_data(pet_flags).train_from(0), 18)]
    )
    epochs = [[one.tobytes() for one in images[i * 4 * steps :][: 4 * steps]] for i in range(2)]
    assert len(set(epochs[0])) == len(epochs[0]) == 36
    assert set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]


def test_the_same_picture_is_augmented_anew_in_every_epoch(pet_flags):
    images = np.concatenate(
        [image for image, _ in batches(common.load_data(pet_flags).train_from(0), 18)]
    )
    assert len({one.tobytes() for one in images}) == len(images)


def own_mask(size=64):
    """A picture that is its own mask: black where the mask is 0, white where it is 1."""
    y, x = np.mgrid[:size, :size] - size / 2
    mask = (np.hypot(x - 8, y + 4) < 18) | (np.abs(x + 20) + np.abs(y - 15) < 11)
    mask = np.uint8(mask)[..., None]
    return np.repeat(mask * np.uint8(255), 3, axis=-1), mask


@pytest.mark.parametrize("seed", range(12))
def test_augmented_picture_and_mask_stay_aligned(seed):
    image, mask = own_mask()
    new_image, new_mask = map(np.asarray, common.augment(image, mask, (seed, 5), 1.0))
    assert new_image.dtype == new_mask.dtype == np.uint8
    assert set(np.unique(new_mask)) <= {0, 1}
    assert not np.array_equal(mask, new_mask)
    brightness = new_image.mean(-1)
    threshold = (brightness.min() + brightness.max()) / 2

    def agreement(shift):
        return ((brightness > threshold) == np.roll(new_mask[..., 0], shift, axis=1)).mean()

    assert agreement(0) > 0.985
    assert agreement(0) > agreement(1)  # a pixel to either side shows
    assert agreement(0) > agreement(-1)


def test_augmentation_covers_flips_scales_and_colors():
    image, mask = own_mask()
    results = [common.augment(image, mask, (0, n), 1.0) for n in range(60)]
    areas = np.array([np.mean(new_mask) for _, new_mask in results]) / mask.mean()
    assert areas.min() < 0.7
    assert areas.max() > 1.5
    brightest = np.array([np.max(new_image) for new_image, _ in results])
    assert len(set(brightest.tolist())) > 10


def test_augmentation_of_strength_zero_is_none():
    image, mask = own_mask()
    new_image, new_mask = common.augment(image, mask, (0, 1), 0.0)
    np.testing.assert_array_equal(image, new_image)
    np.testing.assert_array_equal(mask, new_mask)


def test_resize_keeps_classes_and_alignment():
    image, mask = own_mask(120)
    small, small_mask = common.resize(tf.constant(image), tf.constant(mask), 48)
    assert set(np.unique(small_mask)) == {0, 1}
    assert ((small.numpy().mean(-1) > 127) == small_mask.numpy()[..., 0]).mean() > 0.98


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


def test_color_alone_does_not_solve_the_drawn_pictures():
    """The best guess by color (512 colors, counted on 150 pictures) stays below 0.5."""
    splits, _ = common.load_synthetic((150, 1, 60))

    def colors_and_classes(split):
        pixels = [(image // 32, mask) for image, mask in split.as_numpy_iterator()]
        colors = np.concatenate([(i @ np.array([64, 8, 1])).ravel() for i, _ in pixels])
        return colors, np.concatenate([mask.ravel() for _, mask in pixels]).astype(int)

    colors, classes = colors_and_classes(splits["train"])
    counts = np.bincount(colors * 3 + classes, minlength=512 * 3).reshape(512, 3)
    weighted = counts / counts.sum(axis=0)  # the fairer guess: rare classes count as much
    colors, classes = colors_and_classes(splits["test"])
    for table in (counts, weighted):
        guess = table.argmax(axis=1)[colors]
        confusion = np.bincount(classes * 3 + guess, minlength=9).reshape(3, 3)
        scores = common.scores_from_confusion(confusion, common.PET_CLASSES)
        assert scores["mean_iou"] < 0.5


def test_too_few_pictures_for_a_batch_are_refused(pet_flags):
    pet_flags.batch_size = 37
    with pytest.raises(common.UserError, match=r"too small: 36 train, .*--batch-size 37"):
        common.load_data(pet_flags)


def test_a_failing_download_is_told_in_words(tmp_path, monkeypatch):
    def fail(manager, urls):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fail)
    with pytest.raises(common.UserError) as stopped:
        common.load_oxford_iiit_pet(str(tmp_path))
    message = str(stopped.value)
    assert str(tmp_path) in message
    assert "no route to host" in message
    assert "--dataset synthetic" in message
    assert len(message.splitlines()) == 2
