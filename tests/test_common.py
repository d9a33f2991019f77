"""The way of the data; loss and metrics against values computed by hand; the figures."""

import inspect
from types import SimpleNamespace

import common
from support.data.batches import DRAWS
from support.data.classes import COLORS
from support.data.synthetic import draw_animal
from support.training import figures as training_figures

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from conftest import TEST_COUNT, TRAIN_COUNT, mean_iou_of, random_batch
from matplotlib.colors import to_rgb
from PIL import Image


def images_of(split):
    """Images and masks of a `Split`."""
    return (split.decode(record, None)[:2] for record in split.records)


def test_splits_are_disjoint_and_complete(pets):
    splits = common.load_oxford_iiit_pet(str(pets)).splits
    counts = {name: len(split.records) for name, split in splits.items()}
    assert counts == {"train": TRAIN_COUNT * 9 // 10, "validation": 4, "test": TEST_COUNT}
    pictures = [image.tobytes() for s in splits.values() for image, _ in images_of(s)]
    assert len(set(pictures)) == TRAIN_COUNT + TEST_COUNT
    again = images_of(common.load_oxford_iiit_pet(str(pets)).splits["validation"])
    assert [image.tobytes() for image, _ in again] == pictures[counts["train"] :][:4]


def test_an_edited_split_is_prepared_anew(pets):
    """The stamp has the splits in it, and not only the files."""
    stamp = common.load_oxford_iiit_pet(str(pets)).stamp
    assert common.load_oxford_iiit_pet(str(pets)).stamp == stamp
    edited = inspect.getsource(common.load_oxford_iiit_pet).replace("90%", "80%")
    scope = vars(common).copy()
    exec(edited, scope)
    assert scope["load_oxford_iiit_pet"](str(pets)).stamp != stamp


def test_pictures_and_masks_come_out_as_they_went_in(pets):
    """The mask without loss, ids one less than the trimap's; the picture as JPEG leaves it."""
    drawn = [draw_animal(np.random.default_rng(n)) for n in range(TRAIN_COUNT, 46)]
    found = 0
    for image, mask in images_of(common.load_oxford_iiit_pet(str(pets)).splits["test"]):
        assert image.dtype == mask.dtype == np.uint8
        match = [one for one, trimap in drawn if np.array_equal(trimap - 1, mask)]
        assert len(match) == 1
        assert np.abs(match[0].astype(int) - image).mean() < 12
        found += np.array_equal(match[0], image)  # the PNG that calls itself .jpg has no loss
    assert found == 1


def epoch_of(data, number):
    """The batches of a training epoch, as `fit` with the callbacks of a run gets them."""
    data.epochs.number = number
    return [(image.numpy(), mask.numpy()) for image, mask in data.train]


def assert_same(batches, others):
    for (image, mask), (image_again, mask_again) in zip(batches, others, strict=True):
        np.testing.assert_array_equal(image, image_again)
        np.testing.assert_array_equal(mask, mask_again)


def test_batches_have_the_documented_form(pet_flags):
    data = common.load_data(pet_flags)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [9, 1, 2]
    for split in (data.train, data.validation, data.test):
        for image, mask in split.as_numpy_iterator():
            assert image.shape[1:] == (64, 64, 3)
            assert mask.shape == (*image.shape[:3], 1)
            assert image.dtype == np.float32
            assert mask.dtype == np.uint8
            assert image.min() >= 0
            assert 0.5 < image.max() <= 1
            assert set(np.unique(mask)) <= {0, 1, 2}


def test_same_seed_same_batches(pet_flags):
    first, second = common.load_data(pet_flags), common.load_data(pet_flags)
    for number in (0, 1):
        assert_same(epoch_of(first, number), epoch_of(second, number))
    pet_flags.seed = 8
    other = epoch_of(common.load_data(pet_flags), 0)
    assert not np.array_equal(epoch_of(first, 0)[0][0], other[0][0])


def test_an_epoch_is_the_same_whatever_was_read_before(pet_flags):
    data = common.load_data(pet_flags)
    second = epoch_of(data, 1)
    next(iter(data.train))  # somebody looks into it
    epoch_of(data, 0)
    assert_same(epoch_of(data, 1), second)


def test_an_epoch_has_every_picture_once_and_no_two_epochs_are_alike(pet_flags):
    pet_flags.augmentation = 0.0
    data = common.load_data(pet_flags)
    epochs = [
        [one.tobytes() for image, _ in epoch_of(data, number) for one in image]
        for number in range(2)
    ]
    assert len(set(epochs[0])) == len(epochs[0]) == 36
    assert set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]


def test_the_same_picture_is_augmented_anew_in_every_epoch(pet_flags):
    data = common.load_data(pet_flags)
    images = [one.tobytes() for n in (0, 1) for image, _ in epoch_of(data, n) for one in image]
    assert len(set(images)) == len(images) == 72


def own_mask(size=64):
    """A picture that is its own mask: black where the mask is 0, white where it is 1."""
    y, x = np.mgrid[:size, :size] - size / 2
    mask = (np.hypot(x - 8, y + 4) < 18) | (np.abs(x + 20) + np.abs(y - 15) < 11)
    mask = np.uint8(mask)[..., None]
    return np.repeat(mask * np.uint8(255), 3, axis=-1), mask


def augmented(image, mask, seed, strength=1.0):
    draws = np.random.default_rng(seed).uniform(-1, 1, (1, 8)).astype(np.float32)
    images, masks = common.augment(image[None], mask[None], draws, strength)
    return np.asarray(images)[0], np.asarray(masks)[0]


@pytest.mark.parametrize("seed", range(12))
def test_augmented_picture_and_mask_stay_aligned(seed):
    image, mask = own_mask()
    new_image, new_mask = augmented(image, mask, seed)
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
    results = [augmented(image, mask, seed) for seed in range(60)]
    areas = np.array([np.mean(new_mask) for _, new_mask in results]) / mask.mean()
    assert areas.min() < 0.7
    assert areas.max() > 1.5
    brightest = np.array([np.max(new_image) for new_image, _ in results])
    assert len(set(brightest.tolist())) > 10


@pytest.mark.parametrize(("strength", "scale"), [(1.0, 1.5), (0.5, 1.5**0.5)])
def test_strength_is_that_of_the_geometry_too(strength, scale):
    """A square of 32 pixels in the middle, made as small as can be."""
    mask = np.zeros((1, 64, 64, 1), np.uint8)
    mask[:, 16:48, 16:48] = 1
    draws = np.zeros((1, DRAWS), np.float32)
    draws[0, 1] = 1
    images = np.repeat(255 * mask, 3, axis=-1)
    _, found = common.augment(images, mask, draws, strength)
    assert abs(np.sqrt(np.sum(found)) - 32 / scale) < 1


def test_where_a_tile_is_cut_has_no_say_in_how_it_is_changed():
    image, mask = (array[None] for array in own_mask())
    draws = np.random.default_rng(0).uniform(-1, 1, (1, DRAWS)).astype(np.float32)
    other = draws.copy()
    other[:, -2:] *= -1  # the two that `Tiles` takes
    for one, same in zip(
        *(common.augment(image, mask, some, 1.0) for some in (draws, other)), strict=True
    ):
        np.testing.assert_array_equal(one, same)


def test_augmentation_of_strength_zero_is_none():
    image, mask = own_mask()
    new_image, new_mask = augmented(image, mask, 1, 0.0)
    np.testing.assert_array_equal(image, new_image)
    np.testing.assert_array_equal(mask, new_mask)


def test_resize_keeps_classes_and_alignment():
    image, mask = own_mask(120)
    small, small_mask = common.resize(image, mask, 48)
    assert set(np.unique(small_mask)) == {0, 1}
    assert ((small.mean(-1) > 127) == small_mask[..., 0]).mean() > 0.98


def test_resize_makes_no_class_out_of_two_others():
    """Between 0 and 2 linear interpolation would put 1; and the picture is smooth, not ragged."""
    image, mask = own_mask(101)
    small, small_mask = common.resize(image, 2 * mask, 40)
    assert set(np.unique(small_mask)) == {0, 2}
    assert len(np.unique(small)) > 20
    assert small.dtype == small_mask.dtype == np.uint8


def test_every_training_batch_is_full_and_what_is_left_over_changes(pet_flags):
    pet_flags.batch_size, pet_flags.augmentation = 8, 0.0
    data = common.load_data(pet_flags)
    assert len(data.train) == 4
    seen = []
    for number in range(4):
        images = [image for image, _ in epoch_of(data, number)]
        assert [len(one) for one in images] == [8] * 4
        seen.append({one.tobytes() for batch in images for one in batch})
    assert [len(one) for one in seen] == [32] * 4
    assert len(set.union(*seen)) > 32


def test_a_shrunken_picture_has_the_rounded_mean_of_what_it_had():
    image = np.full((2, 2, 3), 11, np.uint8)
    image[0, 0] = 10
    small, _ = common.resize(image, np.zeros((2, 2, 1), np.uint8), 1)
    assert np.unique(small).tolist() == [11]  # 10.75
    y, x = np.mgrid[:64, :64]
    board = np.repeat(np.uint8(255 * ((x + y) % 2))[..., None], 3, axis=-1)
    small, _ = common.resize(board, np.zeros((64, 64, 1), np.uint8), 15)
    assert np.abs(small.astype(int) - 127).max() < 25  # gray, no moire


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_colors_stay_in_the_documented_ranges_and_use_all_of_them(strength):
    """Of a gray picture only brightness changes; saturation stretches what channels differ by."""
    draws = np.random.default_rng(0).uniform(-1, 1, (300, 8)).astype(np.float32)

    def changed(picture):
        pictures = np.broadcast_to(np.uint8(picture), (300, 16, 16, 3))
        masks = np.zeros((300, 16, 16, 1), np.uint8)
        return common.augment(pictures, masks, draws, strength)[0].numpy().astype(float)

    brightness = changed(128)[:, 8, 8, 0] - 128
    limit = 0.2 * strength * 255
    assert 0.93 * limit < brightness.max() < limit + 1
    assert -limit - 1 < brightness.min() < -0.93 * limit
    halves = np.where(np.arange(16) < 8, 98, 158)[:, None, None]
    colored = (98, 128, 158)
    spread = 1 + 0.4 * strength
    for results, axes in [(changed(halves), (1, 2, 3)), (changed(colored), (3,))]:
        ranges = np.ptp(results, axis=axes).reshape(300, -1).max(axis=1) / 60
        assert 0.95 * spread < ranges.max() < 1.04 * spread
        assert 0.96 / spread < ranges.min() < 1.05 / spread


def test_too_few_pictures_for_a_batch_are_refused(pet_flags):
    pet_flags.batch_size = 37
    with pytest.raises(common.UserError, match=r"too small: 36 train, .*--batch-size 37"):
        common.load_data(pet_flags)


def test_a_failing_download_is_told_in_words(tmp_path, monkeypatch):
    def fail(manager, urls):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fail)
    monkeypatch.setattr(common.network, "check_network", lambda url: None)
    with pytest.raises(common.UserError) as stopped:
        common.load_oxford_iiit_pet(str(tmp_path))
    message = str(stopped.value)
    assert str(tmp_path) in message
    assert "no route to host" in message
    assert "--dataset synthetic" in message
    assert len(message.splitlines()) == 2


def test_scores_of_a_confusion_matrix_by_hand():
    #         predicted: a  b  c
    confusion = np.array([[6, 2, 0], [1, 9, 0], [1, 1, 0]])
    scores = common.scores_from_confusion(confusion, ("a", "b", "c"))
    # a: TP 6, FP 2, FN 2.  b: TP 9, FP 3, FN 1.  c: TP 0, FP 0, FN 2.
    assert scores["iou"] == pytest.approx({"a": 6 / 10, "b": 9 / 13, "c": 0})
    assert scores["dice"] == pytest.approx({"a": 12 / 16, "b": 18 / 22, "c": 0})
    assert scores["mean_iou"] == pytest.approx((6 / 10 + 9 / 13) / 3)
    assert scores["mean_dice"] == pytest.approx((12 / 16 + 18 / 22) / 3)
    assert scores["pixel_accuracy"] == pytest.approx(15 / 20)


def test_a_class_that_never_occurs_stays_out_of_the_means():
    confusion = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    scores = common.scores_from_confusion(confusion, ("a", "b", "c"))
    assert scores["iou"]["c"] is None
    assert scores["dice"]["c"] is None
    assert scores["mean_iou"] == pytest.approx((3 / 4 + 4 / 5) / 2)


class Fixed:
    """A model that answers with the probabilities it was given, batch after batch."""

    def __init__(self, answers):
        self.answers = iter(answers)

    def predict_on_batch(self, images):
        return next(self.answers)


def test_evaluate_counts_pixels_of_every_picture():
    masks = np.array([[[0, 1], [2, 2]], [[1, 1], [1, 0]], [[2, 0], [0, 0]]], np.uint8)[..., None]
    predicted = np.array([[[0, 1], [2, 1]], [[1, 1], [0, 0]], [[2, 0], [1, 0]]])
    images = np.zeros((3, 2, 2, 3), np.float32)
    batches = tf.data.Dataset.from_tensor_slices((images, masks)).batch(2)
    probabilities = 0.1 + 0.7 * np.eye(3)[predicted]
    model = Fixed([probabilities[:2], probabilities[2:]])
    confusion, ious = common.evaluate(model, batches, 3)
    each = [
        [[1, 0, 0], [0, 1, 0], [0, 1, 1]],
        [[1, 0, 0], [1, 2, 0], [0, 0, 0]],
        [[2, 1, 0], [0, 0, 0], [0, 0, 1]],
    ]
    assert confusion.dtype == np.int64
    assert confusion.tolist() == np.sum(each, axis=0).tolist()
    # A class that is neither there nor predicted stays out.
    assert ious == pytest.approx(
        [(1 + 1 / 2 + 1 / 2) / 3, (1 / 2 + 2 / 3) / 2, (2 / 3 + 0 + 1) / 3]
    )


def test_evaluate_counts_more_classes_than_a_byte_has_pairs_for():
    masks = np.full((1, 2, 2, 1), 19, np.uint8)
    batches = tf.data.Dataset.from_tensors((np.zeros((1, 2, 2, 3)), masks))
    probabilities = np.broadcast_to(np.eye(20)[18], (1, 2, 2, 20))
    confusion, _ = common.evaluate(Fixed([probabilities]), batches, 20)
    assert confusion[19, 18] == confusion.sum() == 4


def test_the_metric_of_training_is_that_of_the_evaluation():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (4, 8, 8, 1), np.uint8)
    probabilities = rng.dirichlet([1, 1, 1], (4, 8, 8)).astype(np.float32)
    metric = common.mean_iou(3)
    metric.update_state(masks[:3], probabilities[:3])
    metric.update_state(masks[3:], probabilities[3:])
    batches = tf.data.Dataset.from_tensor_slices((np.zeros((4, 8, 8, 3)), masks)).batch(4)
    confusion, _ = common.evaluate(Fixed([probabilities]), batches, 3)
    scores = common.scores_from_confusion(confusion, ("a", "b", "c"))
    assert float(metric.result()) == pytest.approx(scores["mean_iou"])


def test_the_metric_counts_more_pixels_than_float32_can_by_ones():
    """A batch of 2^24 + 6 pixels of class 0, half of the last dozen called class 1."""
    count = 2**24 + 6
    masks, logits = np.zeros((1, 1, count, 1), np.uint8), np.zeros((1, 1, count, 2), np.float32)
    logits[..., 0], logits[0, 0, -6:, 1] = 1, 2
    metric = common.mean_iou(2)
    metric.update_state(masks, logits)
    assert np.array(metric.total_cm)[0].tolist() == [2**24, 6]
    metric.reset_state()
    assert np.array(metric.total_cm).max() == 0


def test_one_class_is_refused_by_the_loss():
    with pytest.raises(ValueError, match="two classes or more"):
        common.segmentation_loss(np.zeros((1, 2, 2, 1), np.uint8), np.zeros((1, 2, 2, 1)))


def test_loss_by_hand():
    """Two pictures of two pixels, two classes."""
    masks = np.array([[[0], [1]], [[1], [1]]], np.uint8)[:, None]
    p = np.array([[[0.8, 0.2], [0.4, 0.6]], [[0.5, 0.5], [0.1, 0.9]]], np.float32)[:, None]
    cross_entropy = -np.log([[0.8, 0.6], [0.5, 0.9]]).mean(axis=1)
    # Class 0: overlap 0.8, truth 1, predicted 1.8.  Class 1: overlap 2.0, truth 3, predicted 2.2.
    dice = 1 - np.mean([2 * 0.8 / 2.8, 2 * 2.0 / 5.2])
    loss = common.segmentation_loss(tf.constant(masks), tf.math.log(p))
    np.testing.assert_allclose(loss, cross_entropy + dice, rtol=1e-5)


def test_the_loss_of_a_perfect_prediction_is_zero():
    masks = np.random.default_rng(1).integers(0, 3, (2, 6, 6, 1))
    perfect = 40 * np.eye(3, dtype=np.float32)[masks[..., 0]]
    loss = common.segmentation_loss(tf.constant(masks), tf.constant(perfect))
    np.testing.assert_allclose(loss, 0, atol=1e-5)


def test_a_class_that_is_not_there_adds_nothing_to_the_loss():
    masks = np.zeros((1, 4, 4, 1), np.uint8)
    perfect = 40 * np.eye(3, dtype=np.float32)[masks[..., 0]]
    np.testing.assert_allclose(common.segmentation_loss(masks, perfect), 0, atol=1e-5)


def test_void_pixels_change_neither_loss_nor_scores_whatever_is_predicted_there():
    """The two pictures of `test_loss_by_hand`, each with two void pixels more."""
    masks = np.array([[0, 255, 1, 255], [255, 1, 1, 255]], np.uint8)[:, None, :, None]
    sure = [[0.8, 0.2], [0.4, 0.6]], [[0.5, 0.5], [0.1, 0.9]]
    first, second = (
        np.insert(one, places, [x, 1 - x], axis=0)
        for one, places, x in ((sure[0], [1, 2], 0.99), (sure[1], [0, 2], 0.3))
    )
    p = np.float32([first, second])[:, None]
    cross_entropy = -np.log([[0.8, 0.6], [0.5, 0.9]]).mean(axis=1)
    dice = 1 - np.mean([2 * 0.8 / 2.8, 2 * 2.0 / 5.2])
    loss = common.segmentation_loss(tf.constant(masks), tf.math.log(p))
    np.testing.assert_allclose(loss, cross_entropy + dice, rtol=1e-5)

    # Predicted 0, 1 | 0 (a draw), 1 where the truth is 0, 1 | 1, 1.
    metric = common.mean_iou(2)
    metric.update_state(masks, p)
    assert float(metric.result()) == pytest.approx((1 / 2 + 2 / 3) / 2)
    batches = tf.data.Dataset.from_tensor_slices((np.zeros((2, 1, 4, 3)), masks)).batch(2)
    confusion, ious = common.evaluate(Fixed([p]), batches, 2)
    assert confusion.tolist() == [[1, 0], [1, 2]]
    assert ious == pytest.approx([1, (0 + 1 / 2) / 2])


def test_no_gradient_comes_from_void_pixels_and_a_void_picture_has_no_loss():
    masks = np.full((2, 4, 4, 1), 255, np.uint8)
    masks[0, :2, :2] = 1
    guess = tf.constant(np.random.default_rng(0).normal(0, 1, (2, 4, 4, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(guess)
        loss = tf.reduce_sum(common.segmentation_loss(masks, guess))
    touched = np.abs(tape.gradient(loss, guess)).max(axis=-1) > 0
    np.testing.assert_array_equal(touched, masks[..., 0] != 255)
    nothing = common.segmentation_loss(masks[1:], guess[1:])
    np.testing.assert_allclose(nothing, 0, atol=1e-6)


def test_the_schedule_rises_to_its_peak_and_ends_at_zero():
    schedule = common.warmup_cosine(0.5, 200)
    rates = [float(schedule(step)) for step in range(201)]
    assert rates[0] == 0
    assert rates[10] == max(rates) == pytest.approx(0.5)
    assert rates[105] == pytest.approx(0.25, rel=0.01)
    assert rates[200] == pytest.approx(0, abs=1e-6)
    assert float(common.warmup_cosine(0.5, 3)(0)) > 0  # too short for a warm-up


@pytest.fixture
def figures(monkeypatch):
    """Figures that were drawn, by the names of their files, in place of the files."""
    drawn = {}
    for module in (common, training_figures):
        monkeypatch.setattr(
            module, "write", lambda path, save: drawn.update({path.name: save.__self__})
        )
    return drawn


def test_the_history_is_drawn_as_it_was_written_down(figures, tmp_path):
    rows = ["epoch,loss,mean_iou,val_loss,val_mean_iou"]
    rows += ["0,3,0.1,4,0.2", "1,2,0.3,3,0.5", "2,1,0.6,3.5,0.4"]
    (tmp_path / "history.csv").write_text("\n".join(rows) + "\n")
    training_figures.plot_history(tmp_path / "history.csv", "title", stages=[2])
    found = [
        {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines}
        for axis in figures["history.png"].axes
    ]
    epochs = [1, 2, 3]
    for axis, training, validation in zip(
        found, ([3, 2, 1], [0.1, 0.3, 0.6]), ([4, 3, 3.5], [0.2, 0.5, 0.4]), strict=True
    ):
        assert axis["training"] == (epochs, training)
        assert axis["validation"] == (epochs, validation)
        assert axis["next stage"][0] == [2.5, 2.5]
    assert found[1]["best: epoch 2"][0] == [2, 2]
    labels = [axis.get_ylabel() for axis in figures["history.png"].axes]
    assert labels == ["loss", "mean IoU"]


def drawn_data(count=5):
    """Pictures of 8 pixels a side that are their own masks, in gray, and a network's answers.

    Of picture n, n columns are taken for another class.
    """
    masks = np.random.default_rng(0).integers(0, 3, (count, 8, 8, 1), np.uint8)
    images = np.repeat(masks / np.float32(2), 3, axis=-1)
    guesses = masks[..., 0].astype(int)
    for number in range(count):
        guesses[number, :, :number] += 1
    pairs = zip(images, np.eye(3)[guesses % 3], strict=True)
    answers = {image.tobytes(): answer for image, answer in pairs}
    test = tf.data.Dataset.from_tensor_slices((images, masks)).batch(2)
    data = SimpleNamespace(test=test, title="title", tile=None)
    data.class_names, data.class_colors = ("a", "b", "c"), COLORS[:3]

    class Answers:
        def predict_on_batch(self, images):
            return np.array([answers[np.asarray(image).tobytes()] for image in images])

    return images, masks[..., 0], data, Answers()


def test_predictions_are_drawn_from_best_to_worst_each_with_its_own_truth(figures, tmp_path):
    images, masks, data, model = drawn_data()
    ious = common.evaluate(model, data.test, 3)[1][::-1]
    data.test = tf.data.Dataset.from_tensor_slices((images[::-1], masks[::-1, ..., None])).batch(2)
    common.plot_predictions(tmp_path / "p.png", model, data, ious, "title", rows=3)
    axes = np.reshape(figures["p.png"].axes, (3, 4))
    titles = [[axis.get_title() for axis in row] for row in axes]
    assert [row[0] for row in titles] == [f"picture, rank {rank} of 5" for rank in (1, 3, 5)]
    scores = [float(row[2].rpartition(" ")[2]) for row in titles]
    assert scores[0] == 1 > scores[1] > scores[2]
    colors = np.array([to_rgb(color) for color in COLORS[:3]])
    for row, number in zip(axes, (0, 2, 4), strict=True):
        picture, truth, predicted, overlay = (axis.images[0].get_array()[..., :3] for axis in row)
        np.testing.assert_allclose(picture, images[number])
        np.testing.assert_allclose(truth, colors[masks[number]])
        answer = model.predict_on_batch(images[number : number + 1])[0].argmax(-1)
        np.testing.assert_allclose(predicted, colors[answer])
        wanted = 255 * (0.55 * picture + 0.45 * predicted)
        np.testing.assert_allclose(overlay, wanted, atol=1.5)  # of 255


def test_void_pictures_are_not_drawn_none_twice_and_every_class_has_its_color(figures, tmp_path):
    images, _, data, _ = drawn_data()
    truth = np.zeros((5, 8, 8, 1), np.uint8)
    data.test = tf.data.Dataset.from_tensor_slices((images, truth)).batch(2)
    answer = np.zeros((1, 8, 8, 3))
    answer[..., 0], answer[0, 0, 0] = 1, (0, 2, 0)  # b, which the truth does not have
    ious = np.array([1, np.nan, 0.5, 0.7, 0.2])
    model = SimpleNamespace(predict_on_batch=lambda batch: answer)
    common.plot_predictions(tmp_path / "v.png", model, data, ious, "title", rows=6)
    titles = [axis.get_title() for axis in figures["v.png"].axes]
    assert titles[::4] == [f"picture, rank {rank} of 4" for rank in range(1, 5)]
    assert not any("nan" in title for title in titles)
    (legend,) = figures["v.png"].legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]


SUREST = (1, 2, 0)


def attention_axes(figures, tmp_path, scores):
    """Five rows of a white picture and what its three classes look at, in a grid of 2 by 2.

    Classes 0, 1 and 2 are surest at positions 1, 2 and 0. `scores` are those of two heads, of each
    position for each.
    """
    _, masks, data, _ = drawn_data()
    white = np.ones((5, 8, 8, 3), np.float32)
    data.test = tf.data.Dataset.from_tensor_slices((white, masks)).batch(2)
    sure = np.full((5, 2, 2, 3), 0.2, np.float32)
    for number, position in enumerate(SUREST):
        sure[:, position // 2, position % 2, number] = 0.6
    probabilities = sure.repeat(4, axis=1).repeat(4, axis=2)
    grids = np.broadcast_to(scores.reshape(2, 2, 2, 2, 2), (5, 2, 2, 2, 2, 2))
    common.plot_attention(
        tmp_path / "a.png", lambda x: grids[: len(x)], lambda x: probabilities[: len(x)], data, 5
    )
    return np.reshape(figures["a.png"].axes[:20], (5, 4))


def test_what_the_surest_position_of_each_class_looks_at_is_lit(figures, tmp_path):
    """Each class looks at position 3 where it is surest."""
    scores = np.full((2, 4, 4), 0.25, np.float32)
    scores[:, :3] = [0.1, 0.1, 0.1, 0.7]
    axes = attention_axes(figures, tmp_path, scores)
    np.testing.assert_allclose(figures["a.png"].get_size_inches(), (2.3 * 4, 2.4 * 5 + 0.6))
    for row in axes:
        for name, position, axis in zip("abc", SUREST, row[1:], strict=True):
            (x,), (y,) = axis.lines[0].get_data()
            assert (x, y) == (2 + 4 * (position % 2), 2 + 4 * (position // 2))
            light = axis.images[0].get_array()
            assert light.shape == (8, 8, 3)
            assert light[7, 7].min() > 0.95
            assert light[0, 0].max() < 0.35
            assert np.abs(np.diff(light[7], axis=0)).max() < 0.5  # and smooth in between
            assert axis.get_title() == f"surest {name} looks at"


def test_each_class_shows_where_its_own_position_looks_as_the_mean_of_the_heads(figures, tmp_path):
    """Position 1, top right, looks at 1 with one head and at 3 with the other; 2 at itself."""
    scores = np.full((2, 4, 4), 0.25, np.float32)
    scores[0, 1], scores[1, 1] = [0, 1, 0, 0], [0, 0, 0, 1]
    scores[:, 2] = [0, 0, 1, 0]
    for row in attention_axes(figures, tmp_path, scores):
        second, third = (axis.images[0].get_array()[..., 0] for axis in row[1:3])
        corners = (0, 0), (0, 7), (7, 0), (7, 7)
        assert [second[at] > 0.9 for at in corners] == [False, True, False, True]
        assert [third[at] > 0.9 for at in corners] == [False, False, True, False]


def test_attention_is_drawn_of_the_first_tile_of_pictures_in_tiles(figures, tmp_path):
    images, masks, data, _ = drawn_data()
    wide = tf.data.Dataset.from_tensor_slices((images.repeat(2, axis=2), masks.repeat(2, axis=2)))
    data.test, data.tile = wide.batch(1), 8
    looks = np.full((1, 2, 2, 2, 2, 2), 0.25, np.float32)
    sure = np.full((1, 8, 8, 3), 1 / 3, np.float32)
    common.plot_attention(tmp_path / "a.png", lambda x: looks, lambda x: sure, data, rows=2)
    for row, image in zip(np.reshape(figures["a.png"].axes, (2, 4)), images, strict=False):
        np.testing.assert_array_equal(row[0].images[0].get_array(), image.repeat(2, axis=1)[:8, :8])


def test_attention_is_drawn_of_as_many_pictures_as_asked_for(figures, tmp_path):
    _, _, data, _ = drawn_data()
    looks = np.full((1, 2, 2, 2, 2, 2), 0.25, np.float32)
    sure = np.full((1, 8, 8, 3), 1 / 3, np.float32)
    path = tmp_path / "a.png"
    common.plot_attention(path, lambda x: looks, lambda x: sure, data, rows=2)
    titles = [axis.get_title() for axis in figures["a.png"].axes]
    assert len(titles) == 2 * 4
    assert titles[::4] == ["picture"] * 2


def test_a_picture_that_is_void_all_over_has_no_score():
    masks = np.array([[[0, 1]], [[255, 255]]], np.uint8)[..., None]
    batches = tf.data.Dataset.from_tensor_slices((np.zeros((2, 1, 2, 3)), masks)).batch(2)
    answers = np.eye(2)[np.array([[[0, 1]], [[0, 1]]])]
    _, ious = common.evaluate(Fixed([answers]), batches, 2)
    np.testing.assert_array_equal(ious, [1, np.nan])


def test_as_many_pictures_as_a_batch_takes_are_enough(pet_flags):
    pet_flags.batch_size = 36
    data = common.load_data(pet_flags)
    assert len(data.train) == 1


def test_a_class_that_is_never_predicted_and_void_are_in_the_legend(figures, tmp_path):
    images, _, data, _ = drawn_data()
    truth = np.zeros((5, 8, 8, 1), np.uint8)
    truth[:, 0, 0], truth[:, 0, 1] = 2, 255
    data.test = tf.data.Dataset.from_tensor_slices((images, truth)).batch(2)
    answer = np.broadcast_to(np.float32([1, 0, 0]), (1, 8, 8, 3))
    model = SimpleNamespace(predict_on_batch=lambda batch: answer)
    common.plot_predictions(tmp_path / "v.png", model, data, np.full(5, 0.5), "title", rows=2)
    (legend,) = figures["v.png"].legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "c", "void"]


def test_panels_show_every_pixel_up_to_a_thousand(figures, tmp_path):
    _, _, data, _ = drawn_data()
    for side, wanted in ((999, 999), (1500, 750)):
        images, truth = np.zeros((1, 2, side, 3), np.float32), np.zeros((1, 2, side, 1), np.uint8)
        data.test = tf.data.Dataset.from_tensors((images, truth))
        answer = np.ones((1, 2, side, 3), np.float32)
        model = SimpleNamespace(predict_on_batch=lambda batch, answer=answer: answer)
        common.plot_predictions(tmp_path / "p.png", model, data, np.ones(1), "title", rows=1)
        panels = [axis.images[0].get_array().shape[1] for axis in figures["p.png"].axes]
        assert panels == [wanted] * 4


def test_the_first_stage_is_no_next_one(figures, tmp_path):
    rows = ["epoch,loss,mean_iou,val_loss,val_mean_iou", "0,3,0.1,4,0.2", "1,2,0.3,3,0.5"]
    (tmp_path / "history.csv").write_text("\n".join(rows) + "\n")
    for stages, wanted in (([0], []), ([0, 1], [1.5])):
        training_figures.plot_history(tmp_path / "history.csv", "title", stages=stages)
        for axis in figures["history.png"].axes:
            lines = [one for one in axis.lines if one.get_label() == "next stage"]
            assert [one.get_xdata()[0] for one in lines] == wanted


def test_a_validation_loss_in_the_tens_does_not_squash_the_others(figures, tmp_path):
    rows = ["epoch,loss,mean_iou,val_loss,val_mean_iou"]
    rows += ["0,3,0.1,90,0.2", "1,2,0.3,3,0.5"]
    (tmp_path / "history.csv").write_text("\n".join(rows) + "\n")
    training_figures.plot_history(tmp_path / "history.csv", "title")
    assert figures["history.png"].axes[0].get_ylim() == (0, 6)


def test_a_place_is_as_sure_as_its_pixels_are_in_the_mean(figures, tmp_path):
    _, _, data, _ = drawn_data()
    looks = np.full((1, 2, 2, 2, 2, 2), 0.25, np.float32)
    sure = np.full((1, 8, 8, 3), 0.2, np.float32)
    sure[:, 4:, 4:] = 0.5  # all of it rather sure
    sure[:, 0, 0] = 0.9  # and one pixel very
    draw = training_figures.plot_attention
    draw(tmp_path / "a.png", lambda x: looks, lambda x: sure, data, rows=1)
    for axis in figures["a.png"].axes[1:4]:
        (x,), (y,) = axis.lines[0].get_data()
        assert (x, y) == (6, 6)


def test_of_several_outputs_joined_the_metric_counts_the_first():
    masks, (first, second) = random_batch(outputs=2)
    assert mean_iou_of(masks, first) != mean_iou_of(masks, second)
    metric = common.mean_iou(3)
    metric.update_state(masks, np.concatenate([first, second], axis=-1))
    assert float(metric.result()) == mean_iou_of(masks, first)


def test_one_hot_is_zero_where_void():
    ids = np.uint8([[[[1], [0]], [[common.VOID], [2]]]])
    wanted = [[[[0, 1, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 1]]]]
    np.testing.assert_array_equal(common.one_hot(ids, 3), wanted)
    logits = np.random.default_rng(0).normal(size=(1, 2, 2, 3)).astype(np.float32)
    of_ids = common.segmentation_loss(ids, logits)
    np.testing.assert_array_equal(common.segmentation_loss(np.float32(wanted), logits), of_ids)


def test_five_draws_move_a_picture_and_the_next_three_color_it():
    """A picture of one color, in which neither movement shows nor contrast."""
    _, mask = own_mask()
    flat = np.broadcast_to(np.uint8([200, 100, 50]), (1, 64, 64, 3))
    found = []
    for draws in -np.eye(DRAWS, dtype=np.float32):
        images, masks = common.augment(flat, mask[None], draws[None], 1.0)
        found.append([np.any(masks != mask), np.any(images != flat)])
    moved, colored = np.transpose(found).tolist()
    assert moved == [True] * 5 + [False] * 5
    assert colored == [False] * 6 + [True] * 2 + [False] * 2


def test_between_pixels_a_picture_is_enlarged_linearly():
    image = np.uint8([[0], [100]])[..., None].repeat(2, axis=1).repeat(3, axis=2)
    large, _ = common.resize(image, image[..., :1], 4)
    assert large[:, 0, 0].tolist() == [0, 25, 75, 100]


def test_a_picture_is_shrunken_as_if_at_once():
    """What Pillow does in two steps, for speed, is far enough from the size that is asked for."""
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    small, _ = common.resize(image, image[..., :1], 40)
    exact = Image.fromarray(image).resize((40, 40), Image.Resampling.BILINEAR)
    assert np.abs(small.astype(int) - np.array(exact)).max() <= 5


def test_pictures_are_changed_as_strongly_as_asked_for(pet_flags):
    pet_flags.augmentation = 0.0
    images, masks = epoch_of(common.load_data(pet_flags), 0)[0]
    pet_flags.augmentation = 0.5
    data = common.load_data(pet_flags)
    _, draws = data.epochs.plan()
    wanted, _ = common.augment(np.uint8(np.rint(255 * images)), masks, draws[0], 0.5)
    found, _ = epoch_of(data, 0)[0]
    assert np.abs(255 * found - np.float32(wanted)).mean() < 0.1


def test_a_run_ends_with_the_scores_of_the_test_split_under_its_title(monkeypatch, tmp_path):
    reported, drawn, kept = [], [], "the model that was kept"
    data = SimpleNamespace(test="the test split", class_names=("a", "b"), tile=None, title="dots")
    run = SimpleNamespace(data=data, folder=tmp_path, keep=lambda model: kept)
    run.report = lambda *given: reported.append(given)
    monkeypatch.setattr(common, "evaluate", lambda *given: (np.eye(2, dtype=int), given))
    monkeypatch.setattr(common, "plot_predictions", lambda *given: drawn.append(given))
    common.finish(run, SimpleNamespace(name="unet"))
    asked = kept, "the test split", 2, None
    assert drawn == [(tmp_path / "predictions.png", kept, data, asked, "unet on dots")]
    ((model, scores, title),) = reported
    assert (model, scores["mean_iou"], title) == (kept, 1.0, "unet on dots")


def test_panels_show_pixels_as_they_are_and_the_figure_says_in_which_order(figures, tmp_path):
    _, _, data, model = drawn_data()
    common.plot_predictions(tmp_path / "p.png", model, data, np.ones(5), "unet on dots")
    figure = figures["p.png"]
    assert {axis.images[0].get_interpolation() for axis in figure.axes} == {"nearest"}
    assert figure.get_suptitle() == "unet on dots: test pictures from best to worst"


def test_the_history_has_a_title_and_says_what_each_line_is(figures, tmp_path):
    rows = ["epoch,loss,mean_iou,val_loss,val_mean_iou", "0,3,0.1,4,0.2", "1,2,0.3,3,0.5"]
    (tmp_path / "history.csv").write_text("\n".join(rows) + "\n")
    training_figures.plot_history(tmp_path / "history.csv", "unet on dots")
    assert figures["history.png"].get_suptitle() == "unet on dots"
    for axis in figures["history.png"].axes:
        assert axis.get_xlabel() == "epoch"
        named = {text.get_text() for text in axis.get_legend().get_texts()}
        assert {"training", "validation"} <= named


def test_attention_is_drawn_for_six_classes_at_most(figures, tmp_path):
    _, _, data, _ = drawn_data()
    data.class_names = tuple("abcdefgh")
    looks = np.full((1, 2, 2, 2, 2, 2), 0.25, np.float32)
    sure = np.full((1, 8, 8, 8), 1 / 8, np.float32)
    common.plot_attention(tmp_path / "a.png", lambda x: looks, lambda x: sure, data, rows=1)
    titles = [axis.get_title() for axis in figures["a.png"].axes]
    assert titles == ["picture", *(f"surest {name} looks at" for name in "abcdef")]
