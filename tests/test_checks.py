"""Faults of network and data are named, early and in words."""

import contextlib
import hashlib
import http.server
import shutil
import socket
import threading
import time

import common
from support.runtime import network

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from conftest import SMALL, run_script


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
        name = features.deserialize_example(record, decoders=network.without_pictures())[
            "file_name"
        ]
        example = tf.train.Example.FromString(record.numpy())
        if name == b"Bengal_7.jpg":
            change(example.features.feature)
        written.append(example.SerializeToString())
    with tf.io.TFRecordWriter(str(records)) as writer:
        for record in written:
            writer.write(record)


def test_sound_pictures_pass(pets):
    assert network.find_damage(tfds.builder("oxford_iiit_pet", data_dir=pets)) == ""


def test_a_truncated_file_is_named(copied_pets, pet_flags):
    folder, records = copied_pets
    content = records.read_bytes()
    records.write_bytes(content[: len(content) // 2])
    assert f"{records}, picture " in damage_told(pet_flags, folder)


def test_a_file_that_ends_between_two_records_is_named(copied_pets, pet_flags):
    folder, records = copied_pets
    few = list(tf.data.TFRecordDataset(str(records)).take(30).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(records)) as writer:
        for record in few:
            writer.write(record)
    message = damage_told(pet_flags, folder)
    assert f"{records}, picture 31: the file ends there, but should have 40 pictures" in message


def test_a_flipped_bit_is_named(copied_pets, pet_flags):
    folder, records = copied_pets
    content = bytearray(records.read_bytes())
    content[len(content) // 2] ^= 1
    records.write_bytes(content)
    assert f"{records}, picture " in damage_told(pet_flags, folder)


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
    assert str(records) in message
    assert "(Bengal_7.jpg)" in message


def test_a_mask_of_another_size_is_named(copied_pets, pet_flags):
    folder, records = copied_pets

    def shrink(feature):
        mask = tf.io.encode_png(np.ones((20, 30, 1), np.uint8)).numpy()
        feature["segmentation_mask"].bytes_list.value[0] = mask

    rewrite(folder, records, shrink)
    message = damage_told(pet_flags, folder)
    assert "(Bengal_7.jpg)" in message
    assert "its mask [20 30]" in message


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
    assert "(Bengal_7.jpg)" in message
    assert "not 1 to 3" in message


SLOW = bytes(range(256)) * 1000


@pytest.fixture
def server():
    """A web server that answers 403, or nothing at all to /silent and as a proxy for https.

    To /slow it answers with `SLOW`, in the middle of which it falls silent for 12 s.
    """
    ends = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/silent":
                ends.wait(30)
            elif self.path == "/slow":
                self.send_response(200)
                self.send_header("Content-Length", len(SLOW))
                self.end_headers()
                with contextlib.suppress(OSError):  # who only asks hangs up
                    self.wfile.write(SLOW[:100_000])
                    ends.wait(12)
                    self.wfile.write(SLOW[100_000:])
            else:
                self.send_error(403)

        def do_CONNECT(self):
            ends.wait(60)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}"
        ends.set()
        web.shutdown()


def test_a_server_that_answers_is_a_network(server, monkeypatch):
    network.check_network(f"{server}/forbidden")
    monkeypatch.setenv("http_proxy", server)  # asked in place of a host that does not exist
    network.check_network("http://nowhere.invalid/")


@pytest.mark.slow
def test_a_dead_network_is_told_within_half_a_minute(server, monkeypatch, tmp_path):
    """A proxy that takes connections and never answers: the worst of dead networks."""
    monkeypatch.setenv("https_proxy", server)
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    begun = time.monotonic()
    process = run_script("Unet-keras", *SMALL, "--data-dir", "here", cwd=tmp_path)
    assert time.monotonic() - begun < 60  # start of Python and TensorFlow included
    assert process.returncode == 1
    told = process.stderr.strip().splitlines()
    assert len(told) == 2
    assert told[0].startswith("Oxford-IIIT Pet is not in --data-dir here")
    assert "copy a prepared" in told[1]
    assert "--dataset synthetic" in told[1]
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_silent_name_server_is_told_as_fast(monkeypatch, tmp_path):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    asked = []

    def keep_silent(host, *arguments, **options):
        asked.append(host)
        time.sleep(60)

    monkeypatch.setattr(socket, "getaddrinfo", keep_silent)
    begun = time.monotonic()
    with pytest.raises(common.UserError, match=r"no answer from https://\S+ within 20 s"):
        common.load_oxford_iiit_pet(str(tmp_path))
    assert time.monotonic() - begun < 25
    assert asked


@pytest.mark.slow
def test_a_download_goes_on_after_a_silence(server, tmp_path):
    """A server that is silent for 12 s is slow, not dead: tfds waits for it."""
    address = f"{server}/slow"
    checksum = hashlib.sha256(SLOW).hexdigest()

    class SlowPets(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        url_infos = {address: tfds.download.checksums.UrlInfo(len(SLOW), checksum, "slow")}  # noqa: RUF012

        def _info(self):
            features = tfds.features.FeaturesDict({"bytes": np.int64})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {"train": self._generate_examples(manager.download(address))}

        def _generate_examples(self, path):
            yield 0, {"bytes": len(path.read_bytes())}

    builder = network.prepare("slow_pets", "Slow Pets", str(tmp_path))
    assert [int(row["bytes"]) for row in builder.as_dataset("train")] == [len(SLOW)]


def test_silence_and_refusal_are_no_network(server):
    begun = time.monotonic()
    with pytest.raises(OSError, match="/silent"):
        network.check_network(f"{server}/silent", seconds=1)
    assert time.monotonic() - begun < 10
    with pytest.raises(OSError, match="refused"):
        network.check_network("http://127.0.0.1:9/")
