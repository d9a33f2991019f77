"""Files that are written whole or not at all, and folders that one process has to itself."""

import contextlib
import errno
import json
import os
import time
import weakref

UNFINISHED = "unfinished-"  # begins the name of a file that is being written
_held = weakref.WeakSet()  # locks of this process that nobody has let go of


def write(path, save):
    """Write a file under another name and then rename it, so that nobody ever finds half of it.

    Args:
        path: Path of the file.
        save: callable that writes a file, given its Path, which has the same suffix as `path`.

    Raises:
        OSError: the disk is full, the folder not writable or gone. What was there stays.
    """
    unfinished = path.with_name(UNFINISHED + path.name)
    save(unfinished)
    with open(unfinished, "rb+") as file:
        os.fsync(file.fileno())  # else a power loss could keep the new name and lose the content
    replace(unfinished, path)


def replace(path, target, seconds=10):
    """Rename a file. Windows refuses while a virus scanner or OneDrive reads one of the two."""
    until = time.monotonic() + seconds
    while True:
        try:
            return path.replace(target)
        except PermissionError:
            if time.monotonic() > until:
                raise
        time.sleep(0.1)


def write_json(path, content):
    """`write` a dict as JSON."""
    text = json.dumps(content, indent=2) + "\n"
    write(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def below(folder, above=()):
    """Paths of all that is below a folder and not hidden.

    Links to folders are followed, but not back to one that they lie in.
    """
    above = (*above, os.path.realpath(folder))
    with contextlib.suppress(OSError):  # of a folder that may not be read
        for path in folder.iterdir():
            if not path.name.startswith("."):
                yield path
                if path.is_dir() and os.path.realpath(path) not in above:
                    yield from below(path, above)


def read_lines(path):
    """Lines of a text that a user has written, with or without the mark that Windows begins with.

    Raises:
        ValueError: it cannot be read. The message, one line, begins with the path.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def lock(folder):
    """Lock a folder until this process closes the lock or ends, however it ends.

    Returns:
        open file, or None if another process has the folder.

    Raises:
        OSError: the disk knows no locks.
    """
    file = open(folder / "lock", "ab")  # noqa: SIM115 (it stays open as long as the lock is held)
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
    _held.add(file)
    return file


def let_go():
    """Let go of all locks: a notebook's process goes on, and may keep what held them."""
    for file in [*_held]:
        file.close()
