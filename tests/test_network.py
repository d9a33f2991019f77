"""Faults of the network are named, early and in words."""

import contextlib
import hashlib
import http.server
import socket
import ssl
import threading
import time
import urllib.error
from types import SimpleNamespace

import common
from support.runtime import network

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import SMALL, main_of

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
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["Unet-keras.py", *SMALL, "--data-dir", "here"])
    begun = time.monotonic()
    with pytest.raises(common.UserError) as stopped:
        main_of("Unet-keras")()
    assert time.monotonic() - begun < 40
    told = str(stopped.value).splitlines()
    assert len(told) == 2
    assert told[0].startswith("Oxford-IIIT Pet is not in --data-dir here")
    assert "copy a prepared" in told[1]
    assert "--dataset synthetic" in told[1]
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

    builder = network.open_dataset("slow_pets", "Slow Pets", str(tmp_path))
    assert [int(row["bytes"]) for row in builder.as_dataset("train")] == [len(SLOW)]


def test_silence_and_refusal_are_no_network(server):
    begun = time.monotonic()
    with pytest.raises(OSError, match="/silent"):
        network.check_network(f"{server}/silent", seconds=1)
    assert time.monotonic() - begun < 10
    with pytest.raises(OSError, match="refused"):
        network.check_network("http://127.0.0.1:9/")


def test_who_has_the_dataset_asks_no_server(pets, monkeypatch):
    asked = []
    monkeypatch.setattr(network, "check_network", asked.append)
    network.open_dataset("oxford_iiit_pet", "Oxford-IIIT Pet", str(pets))
    assert asked == []


def test_a_certificate_that_python_does_not_know_is_an_answer(monkeypatch):
    def refuse(url, timeout):
        raise urllib.error.URLError(ssl.SSLCertVerificationError("self-signed certificate"))

    opener = SimpleNamespace(open=refuse)
    monkeypatch.setattr(network.urllib.request, "build_opener", lambda: opener)
    network.check_network("https://pets.example/")


def test_another_process_may_have_been_faster(monkeypatch):
    prepared = []

    def prepare():
        prepared.append(True)  # by the other one
        raise FileExistsError("incomplete folder")

    builder = SimpleNamespace(is_prepared=lambda: bool(prepared), url_infos={"http://a/": None})
    builder.download_and_prepare = prepare
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: builder)
    monkeypatch.setattr(network, "check_network", lambda url: None)
    assert network.open_dataset("pets", "Pets", "here") is builder


def test_datasets_may_be_kept_at_home(monkeypatch, tmp_path):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    asked = []

    def builder(name, data_dir):
        asked.append(data_dir.replace("\\", "/"))
        return SimpleNamespace(is_prepared=lambda: True)

    monkeypatch.setattr(tfds, "builder", builder)
    network.open_dataset("pets", "Pets", "~/tensorflow_datasets")
    assert asked == [(tmp_path / "tensorflow_datasets").as_posix()]
