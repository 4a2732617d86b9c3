#!/usr/bin/python3
"""A hostile client: hostile.py KIND SOCKET; goes on until it is killed. Says "ready" when it has begun."""

import contextlib
import os
import select
import socket
import sys
import time

CROWD = 120
GET = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"


def connect(path):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(1)
    one.connect(path)
    return one


def crowd(path, n, first):
    """n connections that have each said `first`; those that are closed come again."""
    alive = []
    while True:
        while len(alive) < n:
            with contextlib.suppress(OSError):
                one = connect(path)
                one.sendall(first)
                alive.append(one)
        yield alive
        gone = select.select(alive, [], [], 0)[0]
        for one in gone:
            data = b""
            with contextlib.suppress(OSError):
                data = one.recv(65536)
            if not data:
                one.close()
                alive.remove(one)


def half(path):
    for _ in crowd(path, CROWD, b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"):
        begun()
        time.sleep(0.05)


def loris(path):
    for alive in crowd(path, CROWD, b"GET /v1/status HTTP/1.1\r\nX-Slow: "):
        begun()
        for one in alive:
            with contextlib.suppress(OSError):
                one.send(b"y")
        time.sleep(0.2)


def connections(path):
    while True:
        with contextlib.suppress(OSError):
            connect(path).close()
        begun()


def requests(path, what=GET):
    open_ones = [connect(path) for _ in range(16)]
    while True:
        for i, one in enumerate(open_ones):
            try:
                one.sendall(what * 20)
            except OSError:
                open_ones[i] = connect(path)
        for one in open_ones:
            with contextlib.suppress(OSError):
                while select.select([one], [], [], 0)[0] and one.recv(1 << 20):
                    pass
        begun()


def lists(path):
    requests(path, b"GET /v1/tasks?limit=1000&state=done,waiting,running HTTP/1.1\r\nHost: x\r\n\r\n")


def bodies(path):
    """Too long, not JSON, and JSON of another kind, each as large as is taken."""
    size = 60 << 20
    while True:
        for length, data in ((1 << 40, b""), (size, b"\xff" * size), (size, b"[" * size), (size, b'{"a":"' + b"x" * (size - 8) + b'"}')):
            with contextlib.suppress(OSError):
                one = connect(path)
                one.sendall(b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length)
                one.sendall(data)
                begun()
                one.recv(4096)
                one.close()


def garbage(path):
    while True:
        for data in (os.urandom(65536), GET + os.urandom(4096), b"\r\n" * 30000, b"GET " + b"/" * 30000):
            with contextlib.suppress(OSError):
                one = connect(path)
                one.sendall(data)
                one.recv(65536)
                one.close()
        begun()


def listeners(path):
    for _ in crowd(path, 2000, b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"):
        begun()
        time.sleep(0.05)


def submits(path):
    body = b'{"command": ["true"], "request": {"cpu": "only"}, "bogus": 1}'
    requests(path, b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


told = False


def begun():
    global told
    if not told:
        print("ready", flush=True)
    told = True


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
