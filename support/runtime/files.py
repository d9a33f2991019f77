"""Files whole or not at all, and folders for one process alone."""

import errno
import json
import os

BESIDE = "unfinished-"


def write(path, save):
    """Write a file beside its place, then rename it: nobody ever finds half of it.

    Args:
        path: Path of the file.
        save: callable that writes a file, given its Path; the name ends as that of `path`.

    Raises:
        OSError: the disk is full, the folder not writable or gone. What was there stays.
    """
    beside = path.with_name(BESIDE + path.name)
    save(beside)
    with open(beside, "rb+") as file:
        os.fsync(file.fileno())  # else a power loss could keep the new name and lose the content
    beside.replace(path)


def write_json(path, content):
    """`write` a dict as JSON."""
    text = json.dumps(content, indent=2) + "\n"
    write(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def lock(folder):
    """Keep a folder for this process, until it closes the lock or ends, in whatever way.

    Returns:
        open file, or None if another process has the folder.

    Raises:
        OSError: the disk knows no locks.
    """
    file = open(folder / "lock", "ab")  # noqa: SIM115 (open as long as the process wants it)
    try:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # on Windows
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        file.close()
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return None
        raise
    return file
