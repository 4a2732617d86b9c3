"""What the chaos runs are made of: a stream of tasks, a killer, the power cut, and the books that are compared at the end.

Three books are kept, by three who do not know of each other: what was acknowledged (by the client that submits), what
ran and when (by the tasks themselves, tests/e2e/witness.c), and what the queue says. `verdict` compares them.
"""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import struct
import threading
import time

from api_link import CPU, UnixConnection
from conftest import BUILD, PATIENCE, wait_until
from supervisor_link import runs

WITNESS = BUILD / "tests/unit/chaos-witness"
GIB = 1 << 30
FAILS_WITH = 7
ENDED = "done,failed,canceled,lost"
DROPPED = (OSError, http.client.HTTPException, ValueError)


def comm(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def children(pid, name):
    """Pids of the children of `pid` whose command is `name` (15 characters of it)."""
    try:
        listed = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in listed if comm(child) == name[:15] and runs(int(child))]


class Witness:
    """What ran, by the tasks' own word: {"<task>.<attempt>": [[start, end or None, status or None], ...]}."""

    def __init__(self, path):
        self.path = path
        path.touch()

    def read(self, before=None):
        ran = {}
        for line in self.path.read_text().splitlines():
            name, what, at, number = line.split()
            if before is not None and int(at) >= before:
                continue
            if what == "start":
                ran.setdefault(name, []).append([int(at), None, None])
            else:
                last = ran[name][-1]
                last[1], last[2] = int(at), int(number)
        return ran


class Submitter(threading.Thread):
    """A client that submits as far as it is allowed to and never gives up: without an answer, the same again."""

    def __init__(self, daemon, witness, dice):
        super().__init__(daemon=True)
        self.link, self.witness, self.dice = daemon, witness, dice
        self.allowed = self.sent = 0
        self.more = threading.Condition()
        self.over = False
        self.asked = {}  # key: [(seconds, status, retries), ...]
        self.acked = {}  # task id: (status, retries)
        self.again = 0  # submits that were sent again
        self.trouble = None

    def allow(self, n):
        with self.more:
            self.allowed = max(self.allowed, n)
            self.more.notify()

    def row(self):
        seconds = self.dice.choice([0, 0, self.dice.uniform(0, 0.1), self.dice.uniform(0, 0.5)])
        status = FAILS_WITH if self.dice.random() < 0.1 else 0
        request = CPU if self.dice.random() < 0.5 else {"vram_bytes": self.dice.randint(1, 3) * GIB}
        return {"command": [str(WITNESS), str(self.witness.path), f"{seconds:.3f}", str(status)], "request": request}

    def submit(self, n):
        key = f"{self.dice.getrandbits(128):032x}"
        rows, retries = [self.row() for _ in range(n)], self.dice.choice([0, 0, 1, 2])
        common = {"key": key, "retries": retries, "env": self.link.environment(), "cwd": "/"}
        if n == 1:
            path, body = "/v1/tasks", {**common, **rows[0]}
        else:
            path, body = "/v1/batches", {**common, "name": "chaos", "on_failure": "continue", "tasks": rows}
        answer = self.insist(path, body)
        if n == 1:
            ids = [answer["task"]["id"]]
        else:
            batch = self.insist(f"/v1/batches/{answer['batch']['id']}?limit=1000", None)
            ids = sorted(task["id"] for task in batch["tasks"])
        assert len(ids) == n and not set(ids) & set(self.acked), f"{ids} for {n} rows"
        for task, row in zip(ids, rows):
            self.acked[task] = (int(row["command"][3]), retries)

    def insist(self, path, body):
        deadline = time.monotonic() + 4 * PATIENCE
        while True:
            try:
                status, answer = self.link.ask("POST" if body else "GET", path, body)
                if status == 200:
                    return answer
                assert status in (429, 503), f"{path}: {status} {answer}"
            except DROPPED:
                self.again += 1
            assert time.monotonic() < deadline, f"{path} was not answered"
            time.sleep(0.01)

    def run(self):
        try:
            while True:
                with self.more:
                    self.more.wait_for(lambda: self.sent < self.allowed or self.over)
                    room = self.allowed - self.sent
                    if room <= 0:
                        return
                n = min(room, self.dice.choice([1, 1, 2, 5]))
                self.submit(n)
                self.sent += n
        except BaseException as error:  # noqa: B902: told by finish()
            self.trouble = error

    def finish(self):
        with self.more:
            self.over = True
            self.more.notify()
        self.join(8 * PATIENCE)
        if self.trouble:
            raise self.trouble
        assert not self.is_alive()


class Killer:
    """kill -9 of what is named, wherever it is in its life."""

    def __init__(self, daemon, dice):
        self.daemon, self.dice = daemon, dice
        self.count = {"daemon": 0, "supervisor": 0, "nvml": 0, "all": 0}

    def supervisor(self):
        try:
            pid = self.daemon.supervisor_pid()
        except (OSError, IndexError, ValueError):
            return []
        return [pid] if comm(pid) == "plimsoll-superv" and runs(pid) else []

    def nvml(self):
        return children(self.daemon.process.pid, "plimsoll-nvml")

    def ours(self):
        return [self.daemon.process.pid] + self.supervisor() + self.nvml()

    def kill(self, pids):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def restart(self):
        self.daemon.process.wait()
        # Now and then it is killed again before it is there.
        while self.dice.random() < 0.3:
            self.daemon.launch()
            time.sleep(self.dice.uniform(0, 0.1))
            self.daemon.kill()
        self.daemon.start()

    def strike(self, what):
        self.count[what] += 1
        if what in ("daemon", "all"):
            self.kill(self.ours() if what == "all" else [self.daemon.process.pid])
            self.restart()
        else:
            self.kill(wait_until(self.supervisor if what == "supervisor" else self.nvml, what=f"the {what}"))


class PowerCut:
    """The state folder as a power cut might leave it, opened again on another machine.

    While it is copied, all of ours stand still (SIGSTOP), at whatever instruction they are: so the copy is of one moment.
    Then what nothing had made durable is taken away, each thing or not by a throw of dice: the end of the journal behind
    its last start (starts are synced, ends are not), frames of the write-ahead log behind its last commit, and the gates'
    file, which is never synced. The other machine is a mount and a pid namespace: another boot id, none of the processes.
    """

    def __init__(self, killer, submitter, witness, dice, folder):
        self.killer, self.submitter, self.witness, self.dice, self.folder = killer, submitter, witness, dice, folder
        self.state, self.run = folder / "state/plimsoll", folder / "run/plimsoll"
        self.file = folder / "witness"
        (folder / "run").mkdir(parents=True, mode=0o700)
        self.take()
        self.tear_journal()
        self.tear_log()
        if dice.random() < 0.5:
            (self.state / "supervisor.gates").unlink(missing_ok=True)
        self.process = None

    def ours(self):
        """Also those on their way: a supervisor that was started a moment ago and has no pid file yet."""
        marker = f"XDG_STATE_HOME={self.killer.daemon.state.parent}".encode()
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if marker in (entry / "environ").read_bytes().split(b"\0") and comm(entry.name).startswith("plimsoll"):
                    yield int(entry.name)
            except OSError:
                continue

    def take(self):
        pids = set()
        try:
            # Until nobody new is there: each may have made another before it stood still.
            while new := {pid for pid in self.ours() if pid not in pids and runs(pid)}:
                for pid in new:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
                pids |= new
                wait_until(lambda: not [pid for pid in pids if runs(pid) and not self.stopped(pid)], what="all to stop")
            self.at = time.monotonic_ns()
            self.acked = dict(self.submitter.acked)
            shutil.copytree(self.killer.daemon.state, self.state, ignore=shutil.ignore_patterns("logs"))
        finally:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
        self.file.touch()

    @staticmethod
    def stopped(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "TZX"
        except OSError:
            return True

    def tear_journal(self):
        path = self.state / "supervisor.journal"
        data = path.read_bytes()
        last = data.rfind(b'"start"')
        synced = data.find(b"\n", last) + 1 if last >= 0 else data.find(b"\n") + 1
        if self.dice.random() < 0.7 and synced < len(data):
            path.write_bytes(data[: self.dice.randint(synced, len(data))])

    def tear_log(self):
        """Frames behind the last commit of the write-ahead log (https://www.sqlite.org/fileformat2.html, 4)."""
        path = self.state / "state.db-wal"
        data = path.read_bytes() if path.exists() else b""
        if len(data) < 32:
            return
        frame = 24 + struct.unpack(">I", data[8:12])[0]
        end = 32
        for at in range(32, len(data) - frame + 1, frame):
            _, commit = struct.unpack(">II", data[at : at + 8])
            if data[at + 8 : at + 16] != data[16:24]:
                break
            if commit:
                end = at + frame
        if self.dice.random() < 0.7 and end < len(data):
            path.write_bytes(data[: self.dice.randint(end, len(data))])

    def open(self):
        boot = self.folder / "boot_id"
        boot.write_text(f"{self.dice.getrandbits(128):032x}\n")
        script = 'mount --bind "$1" /proc/sys/kernel/random/boot_id && mount --bind "$2" "$3" && "$4" serve & wait'
        daemon = self.killer.daemon
        env = {**daemon.box.env, "XDG_STATE_HOME": str(self.folder / "state"),
               "XDG_RUNTIME_DIR": str(self.folder / "run")}
        with open(self.folder / "serve.log", "w") as log:
            self.process = daemon.box.start(
                "unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", script, "sh",
                boot, self.file, self.witness.path, BUILD / "plimsoll", env=env, stdout=log, stderr=log)
        return wait_until(self.tasks, what=f"the copy to open: {(self.folder / 'serve.log').read_text()}")

    def find(self, task, tasks):
        connection = UnixConnection(self.run / "api.sock", timeout=PATIENCE)
        connection.request("GET", f"/v1/tasks/{task}")
        answer = connection.getresponse()
        data = json.loads(answer.read())
        connection.close()
        if answer.status == 200:
            tasks[task] = data["task"]
        return answer.status == 200

    def tasks(self):
        try:
            return all_tasks(self.run / "api.sock")
        except DROPPED:
            return None

    def close(self):
        self.process.kill()
        self.process.wait()
        # What is left of it is killed with its namespace, a moment later.
        wait_until(lambda: shutil.rmtree(self.folder, ignore_errors=True) or not self.folder.exists(), what="the end")

    def check(self, ended, to_the_end):
        """`ended`: ends that a client saw before. How many of what ran is lost."""
        tasks = self.open()
        # A list of what changes meanwhile may lack what moved from one state to the next.
        missing = {task for task in set(self.acked) - set(tasks) if not self.find(task, tasks)}
        assert not missing, f"acknowledged and missing: {missing}"
        for task, seen in ended.items():
            assert same_end(tasks[task], seen), f"an end has changed: {seen} {tasks[task]}"
        if to_the_end:
            wait_until(lambda: not still_open(self.tasks() or tasks), timeout=4 * PATIENCE, what="the copy's tasks")
        tasks = wait_until(self.tasks)
        before = self.witness.read(before=self.at)
        again = set(before) & set(Witness(self.file).read())
        assert not again, f"ran before the power cut and once more after it: {again}"
        lost = 0
        for task in tasks.values():
            for attempt in task["attempts"]:
                if attempt["outcome"] == "lost":
                    assert attempt["exit_code"] is None and attempt["signal"] is None
                    lost += 1
        return lost


def all_tasks(socket, states=None):
    """{id: task}, by pages."""
    found, offset = {}, 0
    while True:
        connection = UnixConnection(socket, timeout=PATIENCE)
        try:
            state = f"&state={states}" if states else f"&state=waiting,held,starting,running,{ENDED}"
            connection.request("GET", f"/v1/tasks?limit=1000&offset={offset}{state}")
            answer = connection.getresponse()
            data = json.loads(answer.read())
            assert answer.status == 200, data
        finally:
            connection.close()
        for task in data["tasks"]:
            found[task["id"]] = task
        offset += len(data["tasks"])
        if not data["tasks"] or offset >= data["total"]:
            return found


def still_open(tasks):
    return [task for task in tasks.values() if task["state"] not in ENDED.split(",")]


def same_end(task, seen):
    return task["state"] == seen["state"] and task["attempts"] == seen["attempts"]


class Books:
    """Ends once seen must stay as they are."""

    def __init__(self, daemon):
        self.daemon, self.ended = daemon, {}

    def look(self):
        for number, task in all_tasks(self.daemon.socket, ENDED).items():
            seen = self.ended.setdefault(number, task)
            assert same_end(task, seen), f"an end was recorded twice: {seen} and then {task}"


def verdict(tasks, acked, ran):
    """Compare the books; what was found, in numbers. Fails with every contradiction."""
    wrong, found = [], {"lost": 0, "repeated": 0, "never-ran": 0, "lost-never-ran": 0}
    if set(tasks) != set(acked):
        wrong.append(f"acknowledged and missing {set(acked) - set(tasks)}, there and never asked for {set(tasks) - set(acked)}")
    for number, (status, retries) in acked.items():
        if number in tasks:
            wrong += [f"task {number}: {text}" for text in judge(tasks[number], status, retries, ran, found)]
    known = {f"{task['id']}.{attempt['number']}" for task in tasks.values() for attempt in task["attempts"]}
    wrong += [f"{name} ran and is not on record" for name in ran if name not in known]
    assert not wrong, "\n".join(wrong)
    return found


def judge(task, status, retries, ran, found):
    """Contradictions between one task's record, what was asked, and what its attempts did."""
    intervals, own = [], 0
    numbers = [attempt["number"] for attempt in task["attempts"]]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"attempts {numbers}"
    for attempt in task["attempts"]:
        runs_of_it = ran.get(f"{task['id']}.{attempt['number']}", [])
        outcome, code = attempt["outcome"], attempt["exit_code"]
        if not (attempt["ended_at"] or attempt["ended_before"]) or not outcome:
            yield f"attempt {attempt['number']} has no end"
        if len(runs_of_it) > 1:
            yield f"attempt {attempt['number']} ran {len(runs_of_it)} times"
        if [run for run in runs_of_it if run[1] is None]:
            yield f"attempt {attempt['number']} never ended by its own word, on record {outcome}"
        intervals += runs_of_it
        own += bool(runs_of_it)
        if outcome == "lost":
            found["lost"] += 1
            found["lost-never-ran"] += not runs_of_it
            own += not runs_of_it
            if code is not None or attempt["signal"] is not None:
                yield f"attempt {attempt['number']} is lost and has a status"
        elif not runs_of_it:
            found["never-ran"] += 1
            if outcome == "ok" or code is not None:
                yield f"attempt {attempt['number']} never ran and is {outcome} ({code})"
        elif code != status or outcome != ("ok" if status == 0 else "error"):
            yield f"attempt {attempt['number']} is {outcome} ({code}), it left with {status}"
    found["repeated"] += max(own - 1, 0)
    if any(nxt[0] < (run[1] or 0) for run, nxt in zip(intervals, intervals[1:])):
        yield f"two attempts at the same time: {intervals}"
    last = task["attempts"][-1]["outcome"] if task["attempts"] else None
    if (task["state"], last) not in (("done", "ok"), ("failed", "error"), ("lost", "lost")):
        yield f"is {task['state']} after {last}: {task['reason']}"
    if own > retries + 1:
        yield f"ran {own} times with {retries} retries"
    if task["state"] != "done" and own != retries + 1:
        yield f"is {task['state']} after {own} runs with {retries} retries: {task['reason']}"
