"""A submit whose answer is lost is sent again, and accepted once."""

import json
import os
import random
import signal
import socket
import threading
import time

import pytest
from api_link import CPU, Daemon, UnixConnection
from conftest import wait_until


@pytest.fixture
def daemon(two_gpus):
    return Daemon(two_gpus)


def test_a_key_stands_for_one_task(daemon):
    body = {"command": ["true"], "request": CPU, "key": "k1", "env": daemon.environment()}
    first = daemon.post("/v1/tasks", body)["task"]["id"]
    assert daemon.post("/v1/tasks", body)["task"]["id"] == first
    daemon.kill()
    daemon.start()
    assert daemon.post("/v1/tasks", body)["task"]["id"] == first
    assert daemon.wait(first)["state"] == "done"
    assert daemon.post("/v1/tasks", body)["task"]["state"] == "done"
    other = daemon.post("/v1/tasks", {**body, "key": "k2"})["task"]["id"]
    assert other != first
    assert [task["id"] for task in daemon.get("/v1/tasks")["tasks"]] in ([first, other], [other, first])


def test_a_key_stands_for_one_batch(daemon):
    tasks = [{"command": ["true"], "request": CPU, "fingerprint": f"f{n}"} for n in range(3)]
    first = daemon.post("/v1/batches", {"tasks": tasks[:2]})["batch"]["id"]
    daemon.wait_batch(first)
    body = {"tasks": tasks, "resume": True, "key": "b"}
    accepted = daemon.post("/v1/batches", body)
    assert accepted["skipped"] == 2 and accepted["batch"]["total"] == 1
    daemon.wait_batch(accepted["batch"]["id"])
    again = daemon.post("/v1/batches", body)
    assert again["skipped"] == 2 and again["batch"]["id"] == accepted["batch"]["id"]
    assert len(daemon.get("/v1/batches")["batches"]) == 2


def test_keys_that_are_refused(daemon):
    assert "key: is empty" in daemon.refused("POST", "/v1/tasks", {"command": ["true"], "request": CPU, "key": ""}, 400)
    long = {"command": ["true"], "request": CPU, "key": "k" * 65}
    assert "key: is longer than 64" in daemon.refused("POST", "/v1/tasks", long, 400)
    daemon.post("/v1/tasks", {"command": ["true"], "request": CPU, "key": "k"})
    batch = {"tasks": [{"command": ["true"], "request": CPU}], "key": "k"}
    assert "stands for task 1 already" in daemon.refused("POST", "/v1/batches", batch, 400)


class AnswerLoser:
    """Stands before the daemon's socket; swallows the answers to the first submits, as a kill would."""

    def __init__(self, daemon, losses):
        self.losses = losses
        self.lost = 0
        self.real = daemon.socket.with_name("real.sock")
        daemon.socket.rename(self.real)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(daemon.socket))
        self.listener.listen(16)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self.real))
            # A connection is of one use here: the answer to lose is told by how its request begins.
            first = client.recv(65536)
            server.sendall(first)
            lose = first.startswith(b"POST /v1/") and self.lost < self.losses
            self.lost += lose
            threading.Thread(target=self.pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, lose), daemon=True).start()

    @staticmethod
    def pump(source, sink, lose):
        try:
            while data := source.recv(65536):
                if lose:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.mark.parametrize(
    "verb", [("run", "--cpu", "only"), ("submit", "--cpu", "only"), ("batch", "rows.txt", "--cpu", "only")]
)
def test_the_answer_is_lost(daemon, verb):
    notes = daemon.box.file("notes", "")
    daemon.box.file("rows.txt", "one\n")
    loser = AnswerLoser(daemon, losses=2)
    daemon.box.plimsoll(*verb, "--", "sh", "-c", f"echo ran >> {notes}", check=0)
    assert loser.lost == 2
    wait_until(lambda: notes.read_text(), what="the task")
    tasks = daemon.box.json("queue")["tasks"]
    assert [daemon.box.plimsoll("wait", task["id"]).returncode for task in tasks] == [0]
    assert notes.read_text() == "ran\n"


def test_an_answer_that_never_comes(daemon):
    loser = AnswerLoser(daemon, losses=100)
    done = daemon.box.plimsoll("submit", "--cpu", "only", "--", "true", check=3)
    assert "the daemon went away" in done.stderr
    assert 1 < loser.lost <= 5
    loser.losses = 0
    assert len(daemon.box.json("queue")["tasks"]) == 1


def test_kills_around_a_submit(two_gpus):
    """kill -9 of the daemon at any moment of a batch: it is accepted once and followed to its end."""
    rounds = 20
    chance = random.Random(2)
    pid_file = None
    for n in range(rounds):
        two_gpus.plimsoll("queue", check=0)
        pid_file = pid_file or next(two_gpus.dir.rglob("daemon.pid"))
        daemon = int(pid_file.read_text().split()[0])
        notes = two_gpus.file(f"notes{n}", "")
        rows = two_gpus.file(f"rows{n}.txt", "a\nb\nc\n")
        batch = two_gpus.start_plimsoll(
            "batch", rows, "--cpu", "only", "-y", "--", "sh", "-c", f"echo {{line}} >> {notes}"
        )
        time.sleep(chance.uniform(0, 0.03))
        os.kill(daemon, signal.SIGKILL)
        out, err = batch.communicate(timeout=60)
        assert batch.returncode == 0, (n, out, err)
        assert sorted(notes.read_text().split()) == ["a", "b", "c"], (n, err)
    two_gpus.plimsoll("queue", check=0)  # starts it again after the last kill
    connection = UnixConnection(pid_file.with_name("api.sock"))
    connection.request("GET", "/v1/batches")
    assert len(json.load(connection.getresponse())["batches"]) == rounds
    connection.close()
