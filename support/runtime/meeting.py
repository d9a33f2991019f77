"""How processes meet before they train together, and how each knows when another has ended.

They meet at the address of process 0, where what is wrong can still be said in words: JAX, which
uses that address later, would end all with a page of C++. They stay connected. When a process
ends, however it ends, the system closes its connections, and the others know at once.
"""

import atexit
import contextlib
import json
import os
import socket
import threading
import time

from support.runtime.startup import GO_ON, UserError

PATIENCE = 60  # seconds in which all processes have to come
SILENCE = 30  # seconds without a sign of life after which a process is given up
_ALIVE, _END = b".", b"!"


def meet(host, port, count, number):
    """Wait until all processes are there.

    Args:
        host, port: str and int, the address of process 0.
        count: of the processes.
        number: of this one, from 0.

    Returns:
        dict of connected sockets: of process 0 with all others, of the others with 0.

    Raises:
        UserError: not all came in time, or two do not agree who they are.
    """
    return _find(host, port, count, number) if number else _receive(port, count)


def watch(peers):
    """End this process as soon as one of the others has ended before its end, or keeps silent."""
    for number, peer in peers.items():
        peer.settimeout(SILENCE)
        atexit.register(_say, peer, _END)
        threading.Thread(target=_say, args=(peer, _ALIVE, True), daemon=True).start()
        threading.Thread(target=_listen, args=(number, peer), daemon=True).start()


def _say(peer, word, again=False):
    with contextlib.suppress(OSError):  # it is gone, which `_listen` notices
        peer.sendall(word)
        while again:
            time.sleep(5)
            peer.sendall(word)


def _listen(number, peer):
    while True:
        try:
            word = peer.recv(1)
        except OSError:  # silence is one, too
            word = b""
        if word == _END:
            return
        if word != _ALIVE:
            text = f"\nProcess {number} has ended or cannot be reached, so this one ends, too. "
            os.write(2, f"{text}{GO_ON}\n".encode())
            os._exit(1)


def _receive(port, count):
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    dual = {"dualstack_ipv6": True} if family == socket.AF_INET6 else {}
    try:
        server = socket.create_server(("", port), family=family, **dual)
    except OSError as error:
        raise UserError(f"Process 0 cannot listen on port {port}: {error}") from error
    peers, end = {}, time.monotonic() + PATIENCE
    with server:
        while missing := [n for n in range(1, count) if n not in peers]:
            server.settimeout(max(end - time.monotonic(), 0.01))
            try:
                peer, _ = server.accept()
                peer.settimeout(5)
                theirs = json.loads(_line(peer))
                number, told = theirs["number"], theirs["count"]
            except TimeoutError:
                if time.monotonic() < end:
                    continue
                raise _refused(
                    f"Of {count} processes, {missing} did not come within {PATIENCE} s.",
                    peers.values(),
                ) from None
            except (ValueError, TypeError, KeyError, OSError):
                continue  # somebody else who knocked
            if told != count:
                problem = f"Process {number} is told of {told} processes, process 0 of {count}."
                raise _refused(problem, [*peers.values(), peer])
            if number in peers or not number:
                problem = f"Two processes have the number {number}."
                raise _refused(problem, [*peers.values(), peer])
            peers[number] = peer
        for peer in peers.values():
            peer.sendall(b"welcome\n")
    return peers


def _refused(problem, peers):
    for peer in peers:
        with contextlib.suppress(OSError):  # it has gone
            peer.sendall(f"{problem}\n".encode())
    settings = "KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID"
    return UserError(f"{problem} See {settings}.")


def _find(host, port, count, number):
    address = f"{host}:{port}"
    end = time.monotonic() + PATIENCE
    hello = json.dumps({"number": number, "count": count})
    while True:
        try:
            peer = socket.create_connection((host, port), timeout=PATIENCE + 10)
            if peer.getsockname() == peer.getpeername():  # nobody is there, but it took that port
                peer.close()
                raise ConnectionRefusedError("connected to itself")
            peer.sendall(f"{hello}\n".encode())
            answer = _line(peer)
            break
        except (OSError, UnicodeError) as error:  # the latter: no host can have such a name
            if time.monotonic() > end:
                raise UserError(
                    f"No answer from process 0 at {address} within {PATIENCE} s: {error}"
                ) from error
            time.sleep(0.2)
    if answer != "welcome":
        problem = answer if answer.isprintable() and answer else "it is not waiting for this one"
        raise UserError(f"Process 0 at {address} sends process {number} away: {problem}")
    return {0: peer}


def _line(peer):
    with peer.makefile("rb") as file:
        return file.readline(1000).decode(errors="replace").strip()
