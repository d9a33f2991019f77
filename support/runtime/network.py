"""Faults of data and of the way to it, found early and named, not after a night of training."""

import contextlib
import os
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request

from support.runtime.startup import UserError, reason


def _ends_within(seconds, ask):
    """Whether a question to the network ends in time; look-ups of names know no limit."""
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def check_network(url, seconds=20):
    """See whether a web server answers, through the environment's proxies if there are any.

    Raises:
        OSError: it does not, or a name server or proxy on the way keeps silent for so long.
    """
    problem = f"no answer from {url} within {seconds} seconds"

    def ask():
        nonlocal problem
        try:
            urllib.request.build_opener().open(url, timeout=seconds).close()
            problem = None
        except urllib.error.HTTPError:
            problem = None  # even "forbidden" is an answer
        except Exception as error:
            problem = f"{url}: {error}"

    _ends_within(seconds, ask)
    if problem:
        raise OSError(problem)


@contextlib.contextmanager
def impatient_downloads(seconds=8, retries=1):
    """Give tfds' downloads a time limit: its own ten retries are minutes of silence.

    Args:
        seconds: without an answer, or without a further byte.
        retries: after the first failure.
    """
    import requests
    from tensorflow_datasets.core.download import downloader

    adapter, kept = requests.adapters.HTTPAdapter, downloader.MAX_RETRIES
    send = adapter.send

    def send_in_time(self, request, **options):
        proxy = requests.utils.select_proxy(request.url, options.get("proxies"))
        _look_up(urllib.parse.urlsplit(proxy or request.url).hostname, seconds)
        return send(self, request, **(options | {"timeout": seconds}))

    adapter.send, downloader.MAX_RETRIES = send_in_time, retries
    try:
        yield
    finally:
        adapter.send, downloader.MAX_RETRIES = send, kept


def _look_up(host, seconds):
    """Ask for a host's address; a name server that keeps silent is an OSError in time."""

    def ask():
        with contextlib.suppress(OSError):  # an answer, too, and told better by who needs it
            socket.getaddrinfo(host, 443)

    if not _ends_within(seconds, ask):
        raise OSError(f"no name server told the address of {host} within {seconds} seconds")


def prepare(name, title, data_dir):
    """The tfds builder of a dataset, which is downloaded and prepared if it is not there.

    Raises:
        UserError: it is neither prepared nor can it be downloaded.
    """
    import tensorflow_datasets as tfds  # here, because other pictures do without it

    data_dir = os.path.expanduser(data_dir)
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        with impatient_downloads():
            builder.download_and_prepare()
    except Exception as error:
        with contextlib.suppress(Exception):  # another process may have been faster
            if (there := tfds.builder(name, data_dir=data_dir)).is_prepared():
                return there
        raise UserError(
            f"{title} is not in --data-dir {data_dir} and could not be prepared there: "
            f"{reason(error)[:200]}\nCheck network and disk, copy a prepared {name} folder there "
            "from another machine, or try --dataset synthetic, which needs no download."
        ) from error
    return builder
