"""Faults of the data and of the network, found early and named, not after a night of training."""

import contextlib
import os
import ssl
import threading
import urllib.error
import urllib.request

from support.runtime.startup import UserError, reason

import tensorflow as tf


def check_network(url, seconds=20):
    """Check that a web server answers, through the environment's proxies if there are any.

    Raises:
        OSError: it does not, or a name server or proxy on the way says nothing for so long.
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
            # So is a certificate that Python does not know: downloaders may bring their own list.
            unknown = isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError)
            problem = None if unknown else f"{url}: {error}"

    thread = threading.Thread(target=ask, daemon=True)  # looking up a name knows no time limit
    thread.start()
    thread.join(seconds)
    if problem:
        raise OSError(problem)


def prepare(name, title, data_dir):
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


def find_damage(builder):
    """Decode every picture and mask of Oxford-IIIT Pet to name the first that is damaged.

    Args:
        builder: tfds.core.DatasetBuilder with the features `image`, `segmentation_mask` and
            `file_name`, prepared as TFRecord files.

    Returns:
        str, two lines: the file, the picture, what is wrong, and what to do; "" if all are sound.
        Told are a file that is missing, cut short or changed, a picture that does not decode, a
        mask of another size than its picture, or one that is not of 1, 2 and 3.
    """
    deserialize = builder.info.features.deserialize_example

    def facts(record):
        picture = deserialize(record)
        mask = picture["segmentation_mask"]
        values = tf.reduce_min(mask), tf.reduce_max(mask)
        return tf.shape(picture["image"])[:2], tf.shape(mask)[:2], values

    for split in builder.info.splits.values():
        for path, expected in zip(split.filepaths, split.shard_lengths, strict=True):
            records = tf.data.TFRecordDataset(str(path))
            pictures, sound = records.map(facts, tf.data.AUTOTUNE), 0
            try:
                for size, mask_size, (lowest, highest) in pictures.as_numpy_iterator():
                    if (size != mask_size).any():
                        raise ValueError(f"the picture has {size} pixels, its mask {mask_size}")
                    if lowest < 1 or highest > 3:
                        raise ValueError(f"its mask goes from {lowest} to {highest}, not 1 to 3")
                    sound += 1
                if sound != expected:
                    raise ValueError(f"the file ends there, but should have {expected} pictures")
            except (tf.errors.OpError, ValueError) as error:
                why = getattr(error, "message", str(error)).splitlines()[0]
                name = _file_name(records.skip(sound), deserialize)
                return (
                    f"Oxford-IIIT Pet is damaged: {path}, picture {sound + 1}{name}: {why}\n"
                    f"Delete {builder.data_path}: it is then prepared anew."
                )
    return ""


def without_pictures():
    """What tells tfds to leave the pictures of a record undecoded."""
    import tensorflow_datasets as tfds

    return dict.fromkeys(("image", "segmentation_mask"), tfds.decode.SkipDecoding())


def _file_name(records, deserialize):
    """The original name of the first picture in brackets, if its record can be read at all."""
    with contextlib.suppress(tf.errors.OpError):
        for record in records.take(1):
            name = deserialize(record, decoders=without_pictures())["file_name"]
            return f" ({name.numpy().decode()})"
    return ""
