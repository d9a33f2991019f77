"""The checkpoint, on a network that trains in a second."""

import os
import shutil

import common
from support.runtime.startup import UserError
from support.training.checkpoint import Checkpoint, _StopOnNaN

import keras
import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.xdist_group("checkpoint")  # so that one worker trains for all


def tiny_model():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


def train(folder, stages, die_after=None, patience=0, learning_rate=0.05):
    """Train in stages as a script does; die after so many epochs of this process."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    pictures, classes = generator.normal(size=(16, 4)), generator.integers(0, 3, 16)

    class Death(keras.callbacks.Callback):
        left = die_after

        def on_epoch_end(self, epoch, logs=None):
            if self.left is not None:
                self.left -= 1
                if not self.left:
                    raise KeyboardInterrupt

    checkpoint = Checkpoint(folder, "accuracy", patience)
    death, model = Death(), tiny_model()
    for number, epochs in enumerate(stages):
        model.layers[1].trainable = number > 0  # as a pretrained encoder
        schedule = common.warmup_cosine(learning_rate, epochs)
        model.compile(
            (keras.optimizers.SGD if number else keras.optimizers.Adam)(schedule),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            run_eagerly=True,
        )
        model.fit(
            pictures,
            classes,
            batch_size=16,  # one step an epoch
            epochs=epochs,
            validation_data=(pictures, classes),
            callbacks=[*checkpoint.callbacks, death],
            shuffle=False,
            verbose=0,
        )
    best = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
    progress = {name: checkpoint.progress[name] for name in ("epochs", "steps", "stages", "best")}
    return progress, (folder / "history.csv").read_bytes(), checkpoint.last, best


def assert_same(one, other):
    assert one[:2] == other[:2]
    for first, second in zip(one[2] + one[3], other[2] + other[3], strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train(tmp_path_factory.mktemp("undisturbed"), [4, 3])


@pytest.fixture(scope="module")
def dead(tmp_path_factory):
    """What a training has left that died after its third epoch."""
    folder = tmp_path_factory.mktemp("dead")
    with pytest.raises(KeyboardInterrupt):
        train(folder, [4, 3], die_after=3)
    return folder


@pytest.fixture
def disturbed(dead, tmp_path):
    return shutil.copytree(dead, tmp_path / "disturbed")


@pytest.mark.parametrize("deaths", [[1], [4], [5], [3, 1, 1]])
def test_goes_on_bit_for_bit_over_two_stages(tmp_path, undisturbed, deaths):
    assert undisturbed[0]["stages"] == [0, 4]
    for epochs in deaths:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "disturbed", [4, 3], die_after=epochs)
    assert_same(train(tmp_path / "disturbed", [4, 3]), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("death", [1, 3])
def test_early_stopping_goes_on_counting(tmp_path, capsys, death):
    """With a learning rate of next to nothing, patience is all that decides."""
    options = {"patience": 2, "learning_rate": 1e-9}
    undisturbed = train(tmp_path / "undisturbed", [9, 9], **options)
    first, second = undisturbed[0]["stages"][1], undisturbed[0]["epochs"]
    assert 3 <= first < 9  # each stage has its patience, and is not skipped
    assert 3 <= second - first < 9
    assert "Epoch 3: early stopping" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "disturbed", [9, 9], die_after=death, **options)
    assert_same(train(tmp_path / "disturbed", [9, 9], **options), undisturbed)


def cut_in_half(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def fill_with_pickle(path):
    path.unlink()
    np.savez(path, progress=np.array([{"epochs": 99}], dtype=object))


def pretend_to_be_encrypted(path):
    """One bit that makes Python's zip reader raise a RuntimeError."""
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [cut_in_half, flip_a_bit, fill_with_pickle, pretend_to_be_encrypted, os.unlink]
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(disturbed, undisturbed, damage):
    damage(disturbed / "checkpoint.npz")
    assert Checkpoint(disturbed, "accuracy").progress["epochs"] == 2
    assert_same(train(disturbed, [4, 3]), undisturbed)


def test_without_any_sound_checkpoint_it_begins_anew(disturbed, undisturbed):
    for path in disturbed.glob("checkpoint*"):
        cut_in_half(path)
    assert_same(train(disturbed, [4, 3]), undisturbed)


@pytest.mark.parametrize("damage", [cut_in_half, os.unlink])
def test_without_the_best_weights_it_begins_anew(disturbed, capsys, undisturbed, damage):
    damage(disturbed / "best.npz")
    assert_same(train(disturbed, [4, 3]), undisturbed)
    assert f"Without best.npz, {disturbed} begins anew." in capsys.readouterr().out


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError("237 MiB")])
def test_what_cannot_be_read_now_is_kept(monkeypatch, disturbed, error):
    """A network disk that fails for a moment is no damage, nor is too little memory."""
    before = {path: path.read_bytes() for path in disturbed.iterdir()}

    def fail(*arguments, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(np, "load", fail)
        with pytest.raises(type(error)):
            Checkpoint(disturbed, "accuracy")
    assert {path: path.read_bytes() for path in disturbed.iterdir()} == before


def test_no_system_adds_lines_to_the_history(monkeypatch, tmp_path):
    def as_on_windows(path, mode="r"):
        return open(path, mode, newline="\r\n" if mode == "a" else None)

    monkeypatch.setattr("keras.src.utils.file_utils.File", as_on_windows)
    train(tmp_path, [2])
    assert b"\r\r" not in (tmp_path / "history.csv").read_bytes()


def test_nan_ends_the_training_with_a_word():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse", jit_compile=False)
    inputs = np.ones((8, 2), np.float32)
    targets = np.array([1.0] * 5 + [np.nan] * 3, np.float32)
    watch = _StopOnNaN()
    with pytest.raises(UserError, match=r"nan in epoch 1, step 6: try a lower learning"):
        model.fit(inputs, targets, batch_size=1, shuffle=False, callbacks=[watch], verbose=0)


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_weights_of_the_best_epoch_are_kept_and_not_those_of_the_last(tmp_path, interrupted):
    model = tiny_model()
    model.compile("sgd", "mse")
    checkpoint = None
    for epoch, score in enumerate([0.3, 0.5, 0.4, 0.45]):
        if interrupted or not checkpoint:
            checkpoint = Checkpoint(tmp_path, "score")
            checkpoint.set_params({"epochs": 4, "steps": 5})
            checkpoint.set_model(model)
            checkpoint.on_train_begin()
        for weight in model.weights:
            weight.assign(np.full(weight.shape, epoch))
        (tmp_path / "history.csv").touch()
        checkpoint.on_epoch_end(epoch, {"val_score": score, "score": -score})
    assert checkpoint.progress["epochs"] == 4
    assert checkpoint.progress["steps"] == 20
    assert checkpoint.progress["best"] == 0.5
    checkpoint.on_train_end()
    assert all((weight == 1).all() for weight in model.get_weights())


@pytest.fixture
def by_hand(tmp_path):
    """A function that trains a stage, given its epochs' scores; weights are the epoch's number."""
    model = tiny_model()
    model.compile("sgd", "mse")
    checkpoint = Checkpoint(tmp_path, "score", patience=2)
    (tmp_path / "history.csv").touch()
    callbacks = [checkpoint.stopping, checkpoint]

    def stage(scores, after_epoch=lambda: None):
        for callback in callbacks:
            callback.set_params({"epochs": len(scores), "steps": 5})
            callback.set_model(model)
            callback.on_train_begin()
        begins_with = model.get_weights()[0].flat[0], checkpoint.stopping.wait
        for epoch, score in enumerate(scores):
            for weight in model.weights:
                weight.assign(np.full(weight.shape, epoch))
            after_epoch()
            for callback in callbacks:
                callback.on_epoch_end(epoch, {"val_score": score})
        checkpoint.on_train_end()
        return begins_with

    return checkpoint, model, stage


def test_a_stage_begins_with_the_last_weights_and_a_patience_of_its_own(by_hand):
    checkpoint, model, stage = by_hand
    stage([0.5, 0.4, 0.4])
    assert checkpoint.stopping.wait == 2
    assert model.get_weights()[0].flat[0] == 0  # the best
    assert stage([0.1]) == (2, 0)
    assert model.get_weights()[0].flat[0] == 0


def test_the_clock_counts_all_stages(by_hand, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("support.training.checkpoint.time.perf_counter", lambda: now[0])
    checkpoint, _, stage = by_hand

    def ten_seconds():
        now[0] += 10

    stage([0.5, 0.6], ten_seconds)
    now[0] += 1000  # between stages nothing is trained
    stage([0.7], ten_seconds)
    assert checkpoint.progress["seconds"] == 30


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_beyond_numbers_is_told_with_its_epoch_and_step(loss):
    watch = _StopOnNaN()
    watch.on_epoch_begin(2)
    watch.on_train_batch_end(4, {"loss": 1.0})
    with pytest.raises(UserError, match=f"{loss} in epoch 3, step 6"):
        watch.on_train_batch_end(5, {"loss": loss})


def test_a_loss_beyond_numbers_ends_a_training_soon(tmp_path):
    """Keras looks at it in another thread, which is no reason to train an epoch to its end."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(1e30), "mse", metrics=["accuracy"])
    watch, steps = _StopOnNaN(), []
    count = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: steps.append(0))
    data = tf.data.Dataset.from_tensors((np.ones((4, 1)), np.ones((4, 1)))).repeat(3000)
    with pytest.raises(UserError, match=r"The loss became (nan|inf) in epoch 1, step \d: try"):
        model.fit(data, callbacks=[watch, count], verbose=0)
    assert len(steps) < 1000


@pytest.mark.parametrize("patience", [0, 3])
def test_a_stage_stops_by_the_highest_validation_score(tmp_path, patience):
    checkpoint = Checkpoint(tmp_path, "some_iou", patience)
    kinds = [type(callback).__name__ for callback in checkpoint.callbacks]
    assert kinds == ["_StopOnNaN", "_History", *["EarlyStopping"] * bool(patience), "Checkpoint"]
    if patience:
        stopping = checkpoint.stopping
        assert (stopping.monitor, stopping.mode, stopping.patience) == ("val_some_iou", "max", 3)


def test_the_history_counts_epochs_over_all_stages(undisturbed):
    rows = undisturbed[1].decode().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", *"0123456"]


def test_of_equal_scores_the_first_is_the_best(by_hand):
    """As the history says, which draws its line there."""
    _, model, stage = by_hand
    stage([0.3, 0.5, 0.5])
    assert model.get_weights()[0].flat[0] == 1


@pytest.mark.parametrize("damaged", ["checkpoint.npz", "best.npz"])
def test_what_is_not_gone_on_with_is_removed(disturbed, damaged):
    """Else a damaged file would take the place of the good one before it."""
    cut_in_half(disturbed / damaged)
    Checkpoint(disturbed, "accuracy")
    left = {path.name for path in disturbed.glob("checkpoint*")}
    assert left == ({"checkpoint-before.npz"} if damaged == "checkpoint.npz" else set())


def test_it_is_told_how_many_weights_are_trained(tmp_path, capsys):
    model = tiny_model()  # 4 x 8 + 8, normalization with 16 of its 32, 8 x 3 + 3
    model.layers[1].trainable = False
    model.compile("sgd", "mse")
    checkpoint = Checkpoint(tmp_path, "score")
    checkpoint.set_params({"epochs": 4, "steps": 5})
    checkpoint.set_model(model)
    checkpoint.on_train_begin()
    told = f"Training {model.name}: 43 of {model.count_params()} weights"
    assert told in capsys.readouterr().out


def test_a_damaged_checkpoint_is_named(disturbed, capsys):
    path = disturbed / "checkpoint.npz"
    cut_in_half(path)
    Checkpoint(disturbed, "accuracy")
    assert f"{path} is damaged, so it is left out: " in capsys.readouterr().out
