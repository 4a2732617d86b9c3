"""The daemon spoken to without our own client: http.client over the Unix socket, and raw bytes."""

import http.client
import json
import os
import pathlib
import signal
import socket

from conftest import BUILD, PATIENCE, wait_until


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=PATIENCE):
        super().__init__("plimsoll", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    """The daemon of a sandbox, started in the foreground of it."""

    def __init__(self, box, *options, **popen):
        self.box = box
        self.popen = popen  # how it is started: env, user ...
        # A simulation has folders of its own.
        self.runtime = pathlib.Path(box.env["XDG_RUNTIME_DIR"]) / "plimsoll"
        self.state = pathlib.Path(box.env["XDG_STATE_HOME"]) / "plimsoll"
        self.socket = self.runtime / "api.sock"
        self.options = options
        self.log = box.dir / "serve.log"
        self.process = None
        self.start()

    def launch(self):
        """Without waiting for it."""
        with open(self.log, "a") as log:
            self.process = self.box.start(BUILD / "plimsoll", "serve", *self.options, stderr=log, **self.popen)

    def start(self):
        self.launch()
        wait_until(self.answers, what="the daemon")
        return self

    def answers(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.get("/v1/status")
        except (OSError, http.client.HTTPException):
            return None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def supervisor_pid(self):
        return int((self.runtime / "supervisor.pid").read_text().split()[0])

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=PATIENCE)

    def ask(self, method, path, body=None):
        """(status, object)"""
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            data = answer.read()
            kind = answer.getheader("Content-Type", "")
            return answer.status, json.loads(data) if kind == "application/json" else data.decode()
        finally:
            connection.close()

    def get(self, path):
        status, answer = self.ask("GET", path)
        assert status == 200, answer
        return answer

    def post(self, path, body=None):
        status, answer = self.ask("POST", path, body)
        assert status == 200, answer
        return answer

    def refused(self, method, path, body, status):
        """The error's message."""
        got, answer = self.ask(method, path, body)
        assert got == status, answer
        return answer["error"]["message"]

    def environment(self):
        return [f"{name}={value}" for name, value in self.box.env.items()]

    def task(self, *command, **members):
        request = {"command": list(map(str, command)), "env": self.environment(), "cwd": str(self.box.dir)}
        return self.post("/v1/tasks", {**request, **members})["task"]["id"]

    def batch(self, commands, request=None, **members):
        tasks = [{"command": list(map(str, command)), "request": request or {}} for command in commands]
        body = {"name": "test", "env": self.environment(), "cwd": str(self.box.dir), "tasks": tasks}
        return self.post("/v1/batches", {**body, **members})

    def wait(self, task):
        return self.get(f"/v1/tasks/{task}/wait")["task"]

    def wait_batch(self, batch, *states):
        states = states or ("done", "canceled")

        def over():
            answer = self.get(f"/v1/batches/{batch}?limit=0")["batch"]
            return answer if answer["state"] in states and not (answer["running"] and "asking" not in states) else None

        wait_until(over, timeout=2 * PATIENCE, what=f"batch {batch}")
        return self.get(f"/v1/batches/{batch}")

    def events(self, query=""):
        """A generator of event objects."""
        connection = UnixConnection(self.socket)
        connection.request("GET", f"/v1/events{query}")
        answer = connection.getresponse()
        assert answer.status == 200
        while line := answer.readline():
            yield json.loads(line)


CPU = {"cpu": "only"}
SIMTASK = BUILD / "plimsoll-simtask"


def counter(box):
    """A command that notes each of its runs; the list of its notes."""
    notes = box.dir / "notes"
    notes.touch()
    command = ["sh", "-c", f'echo "$PLIMSOLL_TASK_ID.$PLIMSOLL_ATTEMPT" >> {notes}; sleep "$0"']
    return command, lambda: notes.read_text().split()


def is_alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False
