"""What is damaged in a dataset that tfds has prepared is named."""

import os
import re
import shutil

import common

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

UNDECODED = dict.fromkeys(("image", "segmentation_mask"), tfds.decode.SkipDecoding())


@pytest.fixture
def copied_pets(pets, tmp_path):
    """The drawn pets, to be damaged, and the file with their training pictures."""
    folder = tmp_path / "pets"
    shutil.copytree(pets, folder)
    (records,) = folder.rglob("*train.tfrecord*")
    return folder, records


def damage_told(pet_flags, folder):
    pet_flags.data_dir = str(folder)
    with pytest.raises(common.UserError) as stopped:
        common.load_data(pet_flags)
    message = str(stopped.value)
    assert message.startswith("Oxford-IIIT Pet is damaged: ")
    assert len(message.splitlines()) == 2
    assert "Delete " in message
    return message


def rewrite(folder, records, change):
    """Write the records anew, with a change to the picture named Bengal_7."""
    features = tfds.builder("oxford_iiit_pet", data_dir=folder).info.features
    written = []
    for record in tf.data.TFRecordDataset(str(records)):
        name = features.deserialize_example(record, decoders=UNDECODED)["file_name"]
        example = tf.train.Example.FromString(record.numpy())
        if name == b"Bengal_7.jpg":
            change(example.features.feature)
        written.append(example.SerializeToString())
    with tf.io.TFRecordWriter(str(records)) as writer:
        for record in written:
            writer.write(record)


def test_a_truncated_file_is_named(copied_pets, pet_flags):
    folder, records = copied_pets
    content = records.read_bytes()
    records.write_bytes(content[: len(content) // 2])
    message = damage_told(pet_flags, folder)
    assert re.search(r"train\[:90%\], after \d+ pictures \(Bengal_\d+.jpg\): truncated", message)


def test_a_file_that_ends_between_two_records_is_named(copied_pets, pet_flags):
    folder, records = copied_pets
    few = list(tf.data.TFRecordDataset(str(records)).take(30).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(records)) as writer:
        for record in few:
            writer.write(record)
    assert "train[:90%], after 30 pictures (Bengal_" in damage_told(pet_flags, folder)


def test_a_flipped_bit_is_named(copied_pets, pet_flags):
    folder, records = copied_pets
    content = bytearray(records.read_bytes())
    content[len(content) // 2] ^= 1
    records.write_bytes(content)
    message = damage_told(pet_flags, folder)
    assert re.search(r"train\[:90%\], after \d+ pictures \(Bengal_\d+.jpg\): corrupted", message)


def test_a_missing_file_is_named(copied_pets, pet_flags):
    folder, records = copied_pets
    records.unlink()
    assert str(records) in damage_told(pet_flags, folder)


def test_a_picture_that_does_not_decode_is_named(copied_pets, pet_flags):
    folder, records = copied_pets

    def cut(feature):
        picture = feature["image"].bytes_list
        picture.value[0] = picture.value[0][:100]

    rewrite(folder, records, cut)
    message = damage_told(pet_flags, folder)
    assert "Bengal_7.jpg: " in message


def test_a_mask_of_another_size_is_named(copied_pets, pet_flags):
    folder, records = copied_pets

    def shrink(feature):
        mask = tf.io.encode_png(np.ones((20, 30, 1), np.uint8)).numpy()
        feature["segmentation_mask"].bytes_list.value[0] = mask

    rewrite(folder, records, shrink)
    message = damage_told(pet_flags, folder)
    assert "Bengal_7.jpg: " in message
    assert "its mask (20, 30)" in message


@pytest.mark.parametrize("value", [0, 4])
def test_a_mask_of_other_classes_is_named(copied_pets, pet_flags, value):
    folder, records = copied_pets

    def paint(feature):
        kept = feature["segmentation_mask"].bytes_list.value
        mask = tf.io.decode_png(kept[0]).numpy()
        mask[5, 5] = value
        kept[0] = tf.io.encode_png(mask).numpy()

    rewrite(folder, records, paint)
    message = damage_told(pet_flags, folder)
    assert "Bengal_7.jpg: " in message
    assert "not 1 to 3" in message


@pytest.mark.parametrize(("content", "seconds"), [(b"more", 0), (b"one", 1)])
def test_the_stamp_tells_a_file_of_another_size_or_another_time(tmp_path, content, seconds):
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    os.utime(path, (10**9, 10**9))
    before = common.stamp_of([path])
    path.write_bytes(content)
    os.utime(path, (10**9, 10**9 + seconds))
    assert common.stamp_of([path]) != before


def test_records_of_every_split_count(pets, tmp_path):
    folder = tmp_path / "pets"
    shutil.copytree(pets, folder)
    before = common.load_oxford_iiit_pet(str(folder)).stamp
    for split in ("train", "test"):
        (records,) = folder.rglob(f"*-{split}.tfrecord*")
        with open(records, "ab") as file:
            file.write(b"more")
        now = common.load_oxford_iiit_pet(str(folder)).stamp
        assert now != before
        before = now
