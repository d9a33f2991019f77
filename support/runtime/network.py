"""What has to be downloaded: whether its server answers, and datasets of tfds."""

import contextlib
import os
import ssl
import threading
import urllib.error
import urllib.request

from support.runtime.startup import UserError, reason


def check_network(url, seconds=20):
    """Check that a web server answers, through the environment's proxies if there are any.

    Raises:
        OSError: it does not, or a name server or proxy on the way says nothing for so long.
    """
    problem = f"no answer from {url} within {seconds} seconds"

    def ask():
        nonlocal problem
        try:
            with contextlib.suppress(urllib.error.HTTPError):  # even "forbidden" is an answer
                urllib.request.build_opener().open(url, timeout=seconds).close()
            problem = None
        except Exception as error:
            # So is a certificate that Python does not know: downloaders may bring their own list.
            unknown = isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError)
            problem = None if unknown else f"{url}: {error}"

    thread = threading.Thread(target=ask, daemon=True)  # looking up a name knows no time limit
    thread.start()
    thread.join(seconds)
    if problem:
        raise OSError(problem)


def open_dataset(name, title, data_dir):
    """The tfds builder of a dataset, which is downloaded and prepared if it is not there.

    Raises:
        UserError: it is neither prepared nor can it be downloaded.
    """
    import tensorflow_datasets as tfds  # here, because other pictures do without it

    data_dir = os.path.expanduser(data_dir)
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if not builder.is_prepared():
            # On a dead network tfds would try ten times, minutes in which it says nothing.
            check_network(next(iter(builder.url_infos)))
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
