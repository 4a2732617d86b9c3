"""What the API refuses, and what hostile clients cost: nothing."""

import contextlib
import json
import os
import pathlib
import socket
import statistics
import time

import pytest
from api_link import CPU, Daemon, UnixConnection
from conftest import BUILD, SANITIZED, wait_until


@pytest.fixture
def daemon(sandbox):
    return Daemon(sandbox)


def raw(daemon, data=b""):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(daemon.socket))
    if data:
        connection.sendall(data)
    return connection


@pytest.mark.parametrize(
    "body, said",
    [
        ({}, "command: is missing"),
        ({"command": []}, "command"),
        ({"command": "true"}, "command"),
        ({"command": ["true", 1]}, "argument 1"),
        ({"command": ["a\0b"]}, "u0000"),
        ({"command": ["{nope}"]}, "{nope}"),
        ({"command": ["{device"]}, "partner"),
        ({"command": ["{batch_size}"]}, "batch size"),
        ({"command": ["true"], "comand": 1}, '"comand"'),
        ({"command": ["true"], "request": {"vram": 1}}, '"vram"'),
        ({"command": ["true"], "request": {"vram_bytes": -1}}, "vram_bytes"),
        ({"command": ["true"], "request": {"vram_bytes": "2G"}}, "vram_bytes"),
        ({"command": ["true"], "request": {"cpu": "maybe"}}, "maybe"),
        ({"command": ["true"], "request": {"cpu": "only", "vram_bytes": 5}}, "CPU only"),
        ({"command": ["true"], "request": {"gpus": 0}}, "gpus"),
        ({"command": ["true"], "cwd": "relative"}, "absolute"),
        ({"command": ["true"], "env": ["NOVALUE"]}, "NOVALUE"),
        ({"command": ["true"], "umask": 512}, "umask"),
        ({"command": ["true"], "priority": 1.5}, "priority"),
        ({"command": ["true"], "policy": "magic"}, "magic"),
        ({"command": ["true"], "request": {"cpus": "x"}}, "cpus"),
    ],
)
def test_a_wrong_task_is_refused_by_name(daemon, body, said):
    assert said in daemon.refused("POST", "/v1/tasks", body, 400)
    assert daemon.get("/v1/tasks")["tasks"] == []


@pytest.mark.parametrize(
    "body, said",
    [
        ({"tasks": []}, "at least one"),
        ({}, "at least one"),
        ({"tasks": [{"command": ["true"]}, {"command": [""]}]}, "row 2"),
        ({"tasks": [{"command": ["true"], "extra": 1}]}, '"extra"'),
        ({"tasks": [{"command": ["true"]}], "on_failure": "shrug"}, "shrug"),
        ({"tasks": [{"command": ["true"]}], "threads": -1}, "threads"),
        ({"tasks": [1]}, "row 1"),
    ],
)
def test_a_wrong_batch_is_refused_by_name(daemon, body, said):
    assert said in daemon.refused("POST", "/v1/batches", body, 400)
    assert daemon.get("/v1/batches")["batches"] == []


def test_paths_methods_and_queries(daemon):
    assert "/v1/nothing" in daemon.refused("GET", "/v1/nothing", None, 404)
    daemon.refused("DELETE", "/v1/tasks", None, 405)
    daemon.refused("GET", "/v1/tasks/99", None, 404)
    daemon.refused("GET", "/v1/tasks/99/log", None, 404)
    daemon.refused("GET", "/v1/tasks/99/wait", None, 404)
    daemon.refused("POST", "/v1/tasks/99/cancel", None, 404)
    daemon.refused("POST", "/v1/batches/99/continue", None, 404)
    daemon.refused("GET", "/v1/events?batch=99", None, 404)
    assert '"stat"' in daemon.refused("GET", "/v1/tasks?stat=done", None, 400)
    assert "dozing" in daemon.refused("GET", "/v1/tasks?state=dozing", None, 400)
    assert "limit" in daemon.refused("GET", "/v1/tasks?limit=-1", None, 400)


def test_a_body_that_is_too_large(daemon):
    message = daemon.refused("POST", "/v1/tasks", {"command": ["x" * (3 << 20)]}, 413)
    assert "bytes" in message


def test_hostile_clients_cost_nothing(daemon):
    open_ones = [
        raw(daemon, b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"),
        raw(daemon, b"GET /v1/ta"),
        raw(daemon),
        raw(daemon, b"\x00\xff" * 1000),
    ]
    flood = raw(daemon)
    try:
        flood.sendall(os.urandom(1 << 20))
    except OSError:
        pass  # cut off before it was through
    long_header = raw(daemon)
    try:
        long_header.sendall(b"GET /v1/status HTTP/1.1\r\nX: " + b"y" * (1 << 20))
    except OSError:
        pass
    assert daemon.wait(daemon.task("true", request=CPU))["state"] == "done"
    status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text()
    resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    if "asan" not in BUILD.name:
        assert resident < 40 * 1024
    for connection in open_ones + [flood, long_header]:
        connection.close()


def test_a_listener_that_does_not_read_is_cut_off(daemon):
    deaf = raw(daemon, b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
    deaf.settimeout(60)
    assert deaf.recv(15) == b"HTTP/1.1 200 OK"
    for _ in range(3):
        commands = [["sleep", "60"]] + [["true", "x" * 3000]] * 1500
        batch = daemon.batch(commands, CPU, threads=1)["batch"]["id"]
        daemon.post(f"/v1/batches/{batch}/cancel")
    status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text()
    resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    if "asan" not in BUILD.name:
        assert resident < 150 * 1024
    assert daemon.wait(daemon.task("true", request=CPU))["state"] == "done"
    deaf.close()


def test_one_connection_serves_many_requests(daemon):
    connection = UnixConnection(daemon.socket)
    for _ in range(50):
        connection.request("GET", "/v1/status")
        assert json.loads(connection.getresponse().read())["pid"] == daemon.process.pid
    connection.close()


def test_a_client_that_leaves_while_it_waits(daemon):
    task = daemon.task("sleep", "2", request=CPU)
    connection = raw(daemon, f"GET /v1/tasks/{task}/wait HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    connection.close()
    assert daemon.wait(task)["state"] == "done"


def test_the_daemon_idles(daemon):
    """No busy loop while clients wait: under 5 % of a core over two seconds."""
    task = daemon.task("sleep", "60", request=CPU)
    connections = [
        raw(daemon, f"GET /v1/tasks/{task}/{what} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        for what in ("wait", "log?follow=1")
    ] + [raw(daemon, b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")]

    def ticks():
        fields = pathlib.Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    wait_until(lambda: daemon.get(f"/v1/tasks/{task}")["task"]["state"] == "running")
    before, waiting = ticks(), daemon.task("sleep", "2", request=CPU)
    daemon.wait(waiting)
    assert ticks() - before < 10 if "asan" not in BUILD.name else True
    for connection in connections:
        connection.close()


def test_files_are_private(daemon):
    assert daemon.socket.stat().st_mode & 0o777 == 0o600
    assert daemon.runtime.stat().st_mode & 0o777 == 0o700
    assert daemon.state.stat().st_mode & 0o777 == 0o700
    pid, start_time = (daemon.runtime / "daemon.pid").read_text().split()
    assert int(pid) == daemon.process.pid and int(start_time) > 0


def test_the_client_starts_one_daemon_however_many_ask(sandbox):
    clients = [sandbox.start_plimsoll("queue", "--json") for _ in range(8)]
    for client in clients:
        out, err = client.communicate(timeout=60)
        assert client.returncode == 0, err
        assert json.loads(out) == {"tasks": []} or json.loads(out)["tasks"] == []
    log = (sandbox.dir / "state" / "plimsoll" / "daemon.log").read_text()
    assert log.count(" ready ") == 1
    assert "error" not in log


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a socket of somebody else's")
def test_a_socket_of_somebody_else_is_refused(sandbox):
    runtime = sandbox.dir / "run" / "plimsoll"
    runtime.mkdir(mode=0o700)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(runtime / "api.sock"))
    listener.listen()
    os.chown(runtime / "api.sock", 12345, 12345)
    done = sandbox.plimsoll("queue")
    assert done.returncode != 0 and "12345" in done.stderr
    listener.close()


def test_submits_are_answered_at_once(two_gpus):
    def submit():
        began = time.monotonic()
        two_gpus.plimsoll("submit", "--cpu", "only", "--", "true", check=0)
        return time.monotonic() - began

    submit()  # starts the daemon
    assert statistics.median(submit() for _ in range(20)) < (0.5 if SANITIZED else 0.1)


def test_half_open_connections_keep_nobody_out(daemon):
    halves = [raw(daemon) for _ in range(200)]
    for half in halves:
        with contextlib.suppress(BrokenPipeError):  # it had to give way already
            half.sendall(b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Le")
    began = time.monotonic()
    daemon.box.plimsoll("queue", check=0, timeout=10)
    assert time.monotonic() - began < 1
    for half in halves:
        half.close()
