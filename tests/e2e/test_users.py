"""A daemon for the whole machine and the users it must keep apart. Needs root: two users without accounts are made of it.

`machine` is such a daemon in folders of the test's own; `machine.user(uid)` is a process of that user that talks to it.
"""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess

import pytest
from api_link import CPU, UnixConnection, is_alive
from conftest import BUILD, PATIENCE, ROOT, SANITIZED, wait_until

ALICE, BOB = 4242, 4343  # without accounts
NOBODY = 65534
SECRETS = ("commandsecret", "cwdsecret", "envsecret", "logsecret", "privatesecret", "kindsecret", "rowsecret")

# What runs as the user: one request a line in, one answer a line out. {"listen": path} begins a stream, which the answer
# to {"heard": true} holds.
MOUTH = r"""
import http.client, json, socket, sys, threading

class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(sys.argv[1])

def ask(method, path, body):
    connection = Connection("plimsoll")
    connection.request(method, path, None if body is None else json.dumps(body))
    answer = connection.getresponse()
    return [answer.status, answer.read().decode()]

heard, streams = [], []

def listen(path):
    connection = Connection("plimsoll")
    connection.request("GET", path)
    answer = connection.getresponse()
    def read():
        while line := answer.readline():
            heard.append(line.decode())
    if answer.status == 200:
        threading.Thread(target=read, daemon=True).start()
        streams.append(connection)
    return answer.status

for line in sys.stdin:
    request = json.loads(line)
    if "listen" in request:
        reply = listen(request["listen"])
    elif "heard" in request:
        reply = "".join(heard)
    else:
        reply = ask(request["method"], request["path"], request["body"])
    print(json.dumps(reply), flush=True)
"""


class User:
    """A process of a user, with a connection of its own for every request."""

    def __init__(self, machine, uid, *, groups="--clear-groups", before=""):
        self.machine, self.uid = machine, uid
        command = f'{before} exec setpriv --reuid {uid} --regid {uid} {groups} /usr/bin/python3 -c "$0" "$1"'
        code = MOUTH.replace("PATIENCE", str(PATIENCE))
        self.process = machine.box.start(
            "sh", "-c", command, code, machine.socket, stdin=subprocess.PIPE, stderr=None, cwd="/"
        )

    def say(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the user's process has ended"
        return json.loads(line)

    def raw(self, method, path, body=None):
        return tuple(self.say(method=method, path=path, body=body))

    def ask(self, method, path, body=None):
        status, text = self.raw(method, path, body)
        assert status == 200, (method, path, text)
        return json.loads(text) if text.startswith("{") else text

    def get(self, path):
        return self.ask("GET", path)

    def refused(self, method, path, body=None, status=403):
        got, text = self.raw(method, path, body)
        assert got == status, (method, path, got, text)
        return json.loads(text)["error"]["message"]

    def body(self, command, **members):
        env = [f"PATH={os.environ['PATH']}", f"XDG_STATE_HOME={self.machine.box.dir}/state", "TOKEN=envsecret"]
        return {"command": list(map(str, command)), "env": env, "cwd": "/tmp", "request": CPU, **members}

    def task(self, *command, **members):
        return self.ask("POST", "/v1/tasks", self.body(command, **members))["task"]["id"]

    def wait(self, task):
        return self.get(f"/v1/tasks/{task}/wait")["task"]

    def output(self, *command, **members):
        """What a command prints that is run as a task of this user's."""
        task = self.task(*command, **members)
        ended = self.wait(task)
        text = self.get(f"/v1/tasks/{task}/log")
        assert ended["state"] == "done", (ended, text)
        return text


class Machine:
    def __init__(self, box):
        self.box = box
        box.dir.chmod(0o711)
        (box.dir / "system").mkdir(mode=0o711)
        self.runtime = box.dir / "system" / "run"
        self.state = box.dir / "system" / "state"
        self.socket = self.runtime / "api.sock"
        self.log = box.dir / "serve.log"
        self.start()

    def start(self):
        with open(self.log, "a") as log:
            self.process = self.box.start(BUILD / "plimsoll", "serve", "--system", stderr=log)

        def answers():
            assert self.process.poll() is None, self.log.read_text()
            try:
                return self.root("GET", "/v1/status")
            except OSError:
                return None

        wait_until(answers, what="the daemon")

    def restart(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.start()

    def pid(self, name):
        path = self.runtime / f"{name}.pid"
        wait_until(path.exists, what=str(path))
        return int(path.read_text().split()[0])

    def root(self, method, path, body=None):
        connection = UnixConnection(self.socket)
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status == 200, text
        return json.loads(text) if text.startswith("{") else text

    def user(self, uid, **options):
        return User(self, uid, **options)

    def cli(self, uid, *args, **options):
        """Our own client, run by a user from where he can reach it."""
        for name in ("plimsoll", "plimsoll-daemon", "plimsoll-supervisor", "plimsoll-nvml"):
            if not (self.box.dir / name).exists():
                shutil.copy(BUILD / name, self.box.dir / name)
                (self.box.dir / name).chmod(0o755)
        home = self.box.dir / f"home-{uid}"
        if not home.exists():
            home.mkdir(mode=0o700)
            os.chown(home, uid, uid)
        env = {name: str(home) for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "HOME")}
        env = {**env, "PLIMSOLL_SYSTEM": "", **options.pop("env", {})}  # a simulation says 0
        words = ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", self.box.dir / "plimsoll", *args]
        return self.box.run(*words, env=env, cwd="/", **options)


@pytest.fixture
def machine(two_gpus):
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: what keeps users apart. Only root can be several users: run this as root")
    return Machine(two_gpus)


def routes():
    """(method, path) of the daemon's own table."""
    table = (ROOT / "src" / "daemon" / "routes.c").read_text()
    found = re.findall(r'\{"(GET|POST|PUT|DELETE|PATCH)",\s*"(/v1/[^"]*)"', table)
    assert len(found) >= 16
    return found


def running(user, task):
    wait_until(lambda: user.get(f"/v1/tasks/{task}")["task"]["state"] == "running", what=f"task {task}")


def full_of_secrets(machine, alice):
    """One task of each kind, and a batch."""
    folder = machine.box.dir / "cwdsecret"
    folder.mkdir(mode=0o755)
    say = "echo CUDA error: out of memory logsecret; exec sleep 600"
    request = {"vram_bytes": 1 << 30}
    more = {"kind": "kindsecret", "cwd": str(folder)}
    runs = alice.task("sh", "-c", say, "commandsecret", name="seen", request=request, **more)
    private = alice.task("sleep", "600", name="privatesecret", private=True, request=request, **more)
    # One rung and no more: the default ladder ends with a GPU for itself, and those that sleep hold both.
    oom = "echo CUDA error: out of memory logsecret; exit 1"
    failed = alice.task("sh", "-c", oom, "commandsecret", name="oom", request=request, on_oom="retry:1,fail", **more)
    gone = alice.task("/no/such/commandsecret", name="gone", **more)
    never = alice.task("true", "commandsecret", name="large", request={"vram_bytes": 11 << 30}, **more)
    rows = [{"command": ["sh", "-c", "exit 3", "commandsecret"], "name": "row", "fingerprint": "rowsecret", "request": CPU}]
    body = {k: v for k, v in alice.body([], **more).items() if k in ("env", "cwd")}
    open_batch = alice.ask("POST", "/v1/batches", {"name": "nightly", "tasks": rows, **body})["batch"]["id"]
    hidden = alice.ask("POST", "/v1/batches", {"name": "privatesecret", "private": True, "tasks": rows, **body})["batch"]["id"]
    for task in (runs, private):
        running(alice, task)
    for task in (failed, gone):
        alice.wait(task)
    for batch in (open_batch, hidden):
        wait_until(lambda: alice.get(f"/v1/batches/{batch}")["batch"]["ended_at"], what="the batch")
    return [runs, private, failed, gone, never], [open_batch, hidden]


def test_a_stranger_walks_all_routes_and_learns_no_secret(machine):
    alice, bob = machine.user(ALICE), machine.user(BOB)
    assert bob.say(listen="/v1/events") == 200
    tasks, batches = full_of_secrets(machine, alice)
    before = [alice.get(f"/v1/tasks/{task}")["task"]["state"] for task in tasks]
    asked = 0
    for method, path in routes():
        ids = batches if path.startswith("/v1/batches/{id}") else tasks if "{id}" in path else [0]
        for number in ids:
            at = path.replace("{id}", str(number))
            if at.endswith("/wait") and before[tasks.index(number)] not in ("failed", "done"):
                continue
            if path == "/v1/events":
                continue
            if method != "GET":
                if path in ("/v1/tasks", "/v1/batches"):
                    continue  # a submit, which is everybody's
                if path == "/v1/queue/cancel-all":  # of his own
                    assert bob.ask(method, at) == {"canceled": 0, "stopping": 0, "canceled_batches": 0}
                    continue
                assert "root may" in bob.refused(method, at) or "for root" in bob.refused(method, at)
            status, text = bob.raw(method, at)
            assert not [secret for secret in SECRETS if secret in text], (method, at, text)
            # What others name is not there for him.
            assert status in (200, 403) or (status == 404 and "{name}" in path), (method, at, text)
            asked += 1
    for query in ("?order=oldest", "?format=lines", "?state=running", f"?batch={batches[0]}", "?order=newest&limit=3"):
        status, text = bob.raw("GET", f"/v1/tasks{query}")
        assert status == 200 and not [secret for secret in SECRETS if secret in text], (query, text)
    assert asked >= 30
    heard = wait_until(lambda: (text := bob.say(heard=True)) and '"row"' in text and text, what="events")
    assert '"task"' in heard and not [secret for secret in SECRETS if secret in heard], heard
    assert [alice.get(f"/v1/tasks/{task}")["task"]["state"] for task in tasks] == before
    # Nothing is hidden from whose it is, nor from root: a test that found nothing because nothing was there is none.
    own = "".join(alice.raw("GET", path)[1] for path in ("/v1/tasks", f"/v1/tasks/{tasks[0]}/log", "/v1/batches", "/v1/gpus"))
    assert [secret for secret in SECRETS if secret not in own] == ["envsecret", "rowsecret"]
    assert "commandsecret" in json.dumps(machine.root("GET", "/v1/tasks"))


def test_what_is_seen_of_others_explains_the_queue(machine):
    alice, bob = machine.user(ALICE), machine.user(BOB)
    task = alice.task("sleep", "600", name="train", priority=-3, request={"vram_bytes": 1 << 30})
    private = alice.task("sleep", "600", name="secret", private=True, request={"vram_bytes": 1 << 30})
    running(alice, private)
    seen = bob.get(f"/v1/tasks/{task}")["task"]
    assert (seen["name"], seen["user"], seen["uid"], seen["state"], seen["priority"]) == ("train", str(ALICE), ALICE, "running", -3)
    assert seen["request"]["vram_bytes"] == 1 << 30 and seen["submitted_at"] and not seen["command"]
    attempt = seen["attempts"][0]
    assert attempt["gpus"] and attempt["started_at"] and attempt["reason"] is None and attempt["exit_code"] is None
    seen = bob.get(f"/v1/tasks/{private}")["task"]
    assert (seen["name"], seen["private"], seen["state"]) == (None, True, "running")
    holders = [h for gpu in bob.get("/v1/gpus")["gpus"] for h in gpu["holders"] if h["kind"] == "task"]
    assert sorted(h["name"] for h in holders) == sorted(["train", f"task {private}"])
    assert "kind: finds your own" in bob.refused("GET", f"/v1/tasks?kind=sleep&user={ALICE}")
    assert bob.get("/v1/tasks?name=secret")["tasks"] == []
    text = machine.cli(BOB, "queue", check=0).stdout
    assert "train" in text and "(private)" in text and "secret" not in text and f" {ALICE} " in text
    shown = machine.cli(BOB, "show", task, check=0).stdout
    assert "train" in shown and f"{ALICE}; what it runs" in shown and "unknown" not in shown
    assert f" {ALICE} " not in machine.cli(ALICE, "queue", check=0).stdout, "a column for nothing but himself"


def test_who_waits_for_anothers_task_is_not_told_what_it_said(machine):
    """How it ended is for all to see; the reason may quote its output."""
    alice, bob = machine.user(ALICE), machine.user(BOB)
    go = machine.box.dir / "go"
    wait = f"while ! test -e {go}; do sleep 0.05; done; echo CUDA error: out of memory logsecret; exit 1"
    task = alice.task("sh", "-c", wait, request={"vram_bytes": 1 << 30})
    after = {"after": {"tasks": [task], "on": "success"}}
    waits, own = bob.task("true", **after), alice.task("true", **after)
    assert f"task {task}" in bob.get(f"/v1/tasks/{waits}/why")["reason"]
    go.touch()
    assert "logsecret" in alice.wait(task)["reason"], "the reason quotes the output"
    ended = bob.wait(waits)
    assert ended["state"] == "canceled" and f"task {task} failed" in ended["reason"] and "logsecret" not in ended["reason"]
    assert "logsecret" in alice.wait(own)["reason"]


def test_nobody_touches_what_is_not_his(machine):
    alice, bob = machine.user(ALICE), machine.user(BOB)
    task = alice.task("sleep", "600")
    running(alice, task)
    assert bob.refused("POST", f"/v1/tasks/{task}/cancel") == f"task {task} is {ALICE}'s: only {ALICE} and root may cancel it"
    assert bob.refused("GET", f"/v1/tasks/{task}/log") == f"task {task} is {ALICE}'s: only {ALICE} and root may read its log"
    assert "there is no task 99" in bob.refused("POST", "/v1/tasks/99/cancel", status=404)
    assert "for root" in bob.refused("POST", "/v1/shutdown", {})
    done = machine.cli(BOB, "cancel", task)
    assert done.returncode != 0 and f"only {ALICE} and root" in done.stderr
    assert alice.get(f"/v1/tasks/{task}")["task"]["state"] == "running"
    machine.root("POST", f"/v1/tasks/{task}/cancel")
    assert alice.wait(task)["state"] == "canceled"
    again = alice.task("sleep", "600")
    alice.ask("POST", f"/v1/tasks/{again}/cancel")
    assert alice.wait(again)["state"] == "canceled"


def test_a_task_runs_as_who_sent_it(machine):
    place = machine.box.dir / "place"
    place.mkdir()
    os.chown(place, ALICE, ALICE)
    alice = machine.user(ALICE, groups="--groups 7,8", before="ulimit -n 777; ulimit -c 0;")
    script = "id -u; id -g; id -G; umask; ulimit -n; ulimit -Hn; ulimit -c; touch made; ls /proc/self/fd | tr '\\n' ' '; pwd"
    lines = alice.output("sh", "-c", script, umask=0o27, cwd=str(place)).split("\n")
    # Groups are those of the account, not what a process happened to have. ls has its folder open too.
    assert lines[:7] == [str(ALICE), str(ALICE), str(ALICE), "0027", "777", "777", "0"]
    assert lines[7].split()[:3] == ["0", "1", "2"] and len(lines[7].split("/")[0].split()) == 4
    made = (place / "made").stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (ALICE, ALICE, 0o640)
    entry = pwd.getpwuid(NOBODY)
    groups = " ".join(map(str, sorted(set(os.getgrouplist(entry.pw_name, entry.pw_gid)))))
    said = machine.user(NOBODY).output("sh", "-c", "id -u; id -G").split("\n")
    assert said[0] == str(NOBODY) and " ".join(sorted(said[1].split(), key=int)) == groups


def test_a_log_of_ones_own_choice_is_opened_with_ones_own_rights(machine):
    alice, bob = machine.user(ALICE), machine.user(BOB)
    place, secret = machine.box.dir / "place", machine.box.dir / "secret"
    place.mkdir()
    os.chown(place, ALICE, ALICE)
    secret.write_text("CUDA error: out of memory rootsecret\n")
    secret.chmod(0o600)
    log = place / "new" / "train.log"
    for number in (1, 2):
        task = alice.task("echo", "said", number, log=str(log))
        alice.wait(task)
        assert alice.get(f"/v1/tasks/{task}/log").endswith(f"said {number}\n")
    assert log.read_text() == "said 1\nsaid 2\n" and log.stat().st_uid == ALICE and log.parent.stat().st_uid == ALICE
    assert bob.get(f"/v1/tasks/{task}")["task"]["log"] is None
    bob.refused("GET", f"/v1/tasks/{task}/log")
    # Root's files are neither written nor read for anybody, whatever the path has become meanwhile.
    for path in (secret, machine.state / "mine", "/proc/self/mem"):
        ended = alice.wait(alice.task("echo", "overwritten", log=str(path)))
        assert ended["state"] == "failed" and "log" in ended["reason"] + ended["attempts"][0]["reason"], ended
    assert "overwritten" not in secret.read_text() and not (machine.state / "mine").exists()
    swap = ["sh", "-c", f"rm {log}; ln -s {secret} {log}; exit 1"]
    ended = alice.wait(alice.task(*swap, log=str(log), request={"vram_bytes": 1 << 30}))
    assert ended["state"] == "failed" and "rootsecret" not in json.dumps(ended)
    assert "rootsecret" not in alice.raw("GET", f"/v1/tasks/{ended['id']}/log")[1]
    log.unlink()
    os.mkfifo(log)
    os.chown(log, ALICE, ALICE)
    assert "rootsecret" not in alice.raw("GET", f"/v1/tasks/{ended['id']}/log")[1], "and a FIFO holds nobody up"


def test_a_task_reaches_neither_the_daemon_nor_what_it_keeps(machine):
    alice = machine.user(ALICE)
    pids = [machine.pid("daemon"), machine.pid("supervisor")]
    script = (
        f"for pid in {pids[0]} {pids[1]}; do kill -9 $pid 2>/dev/null && echo killed; cat /proc/$pid/environ >/dev/null 2>&1 && echo read; done;"
        f"ls {machine.state} 2>/dev/null && echo listed; (echo x > {machine.runtime}/mine) 2>/dev/null && echo wrote;"
        "cat /proc/self/environ | tr '\\0' '\\n' | grep -c '^LD_LIBRARY_PATH='; true"
    )
    assert alice.output("sh", "-c", script) == "0\n"
    assert all(map(is_alive, pids))
    # What is ours: the socket is for all, nothing else is.
    assert (machine.state.stat().st_mode & 0o777, machine.runtime.stat().st_mode & 0o777) == (0o700, 0o755)
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in machine.runtime.iterdir()}
    assert modes.pop("api.sock") == 0o666 and set(modes.values()) == {0o600}, modes


def test_an_environment_goes_nowhere_but_into_its_tasks(machine):
    alice, bob = machine.user(ALICE), machine.user(BOB)
    evil = ["LD_PRELOAD=/tmp/evil.so", "ASAN_OPTIONS=verify_asan_link_order=0", "TOKEN=alice"]
    body = alice.body(["sh", "-c", "echo $TOKEN"])
    body["env"] += evil
    task = alice.ask("POST", "/v1/tasks", {**body, "key": "k1", "name": "same"})["task"]["id"]
    alice.wait(task)
    for name in ("daemon", "supervisor"):
        environ = open(f"/proc/{machine.pid(name)}/environ", "rb").read()
        assert b"evil" not in environ and b"TOKEN" not in environ
        maps = open(f"/proc/{machine.pid(name)}/maps").read()
        assert "evil" not in maps
    # The same key, name and text of another user are another's: with his environment.
    body = bob.body(["sh", "-c", "echo $TOKEN; env | grep -c PRELOAD"], key="k1", name="same")
    again = bob.ask("POST", "/v1/tasks", body)["task"]
    assert again["id"] != task and again["uid"] == BOB
    bob.wait(again["id"])
    assert bob.get(f"/v1/tasks/{again['id']}/log") == "envsecret\n0\n"
    assert bob.ask("POST", "/v1/tasks", body)["task"]["id"] == again["id"], "a key sent again is the same submit"
    assert "evil" not in machine.log.read_text() and "envsecret" not in machine.log.read_text()
    for member, value in (("uid", 0), ("gid", 0), ("user", "root"), ("limits", {}), ("rlimits", "{}"), ("groups", [0]), ("environment", 1)):
        assert f'"{member}"' in bob.refused("POST", "/v1/tasks", {**bob.body(["id"]), member: value}, status=400)


def test_nobody_gives_himself_precedence(machine):
    bob = machine.user(BOB)
    assert "root's to give" in bob.refused("POST", "/v1/tasks", bob.body(["true"], priority=1))
    rows = [{"command": ["true"], "request": CPU}, {"command": ["true"], "request": CPU, "priority": 7}]
    assert "row 2: priority 7" in bob.refused("POST", "/v1/batches", {"tasks": rows})
    task = bob.task("true", held=True, priority=-5)
    assert "root's to give" in bob.refused("POST", f"/v1/tasks/{task}/priority", {"priority": 1})
    assert bob.ask("POST", f"/v1/tasks/{task}/priority", {"priority": 0})["task"]["priority"] == 0
    assert machine.root("POST", f"/v1/tasks/{task}/priority", {"priority": 9})["task"]["priority"] == 9


def test_resume_knows_each_users_own_rows(machine):
    alice, bob = machine.user(ALICE), machine.user(BOB)

    def batch(user):
        env = user.body([])["env"]
        rows = [{"command": ["true"], "fingerprint": "f", "request": CPU}]
        answer = user.ask("POST", "/v1/batches", {"tasks": rows, "resume": True, "env": env})
        wait_until(lambda: user.get(f"/v1/batches/{answer['batch']['id']}")["batch"]["ended_at"], what="the batch")
        return answer["skipped"]

    assert [batch(alice), batch(alice), batch(bob), batch(bob)] == [0, 1, 0, 1]


def test_a_users_limit_of_processes_is_his_own(machine):
    """His starts are refused as long as he has too many; nobody else's wait for that."""
    # Nobody else's on this machine: the kernel counts them all.
    crowded, bob = machine.user(100000 + os.getpid(), before="ulimit -p 1;"), machine.user(BOB)
    tasks = [crowded.task("sleep", "600") for _ in range(4)]

    def reasons():
        return [crowded.get(f"/v1/tasks/{task}/why")["reason"] for task in tasks]

    wait_until(lambda: any("as many processes as" in why and "; tried again in" in why and " of 40" in why for why in reasons()),
               what="one that is refused")
    assert not any("the machine" in why for why in reasons()), reasons()
    assert bob.wait(bob.task("true"))["state"] == "done"
    for task in tasks:
        crowded.raw("POST", f"/v1/tasks/{task}/cancel")


def test_it_is_known_who_somebody_is_after_a_restart(machine):
    alice, bob = machine.user(ALICE, before="ulimit -n 555;"), machine.user(BOB)
    first = alice.task("sh", "-c", "sleep 600", name="one", request={"vram_bytes": 11 << 30})
    running(alice, first)
    waits = alice.task("sh", "-c", "id -u; ulimit -n; echo $TOKEN", name="hidden", private=True, request={"vram_bytes": 11 << 30})
    rows = [{"command": ["sleep", "600"], "request": {"vram_bytes": 11 << 30}}]
    batch = alice.ask("POST", "/v1/batches", {"name": "hidden", "private": True, "tasks": rows, "env": alice.body([])["env"]})
    machine.restart()
    for path in ("/v1/tasks", "/v1/batches"):
        assert "hidden" not in bob.raw("GET", path)[1]
        assert "hidden" in alice.raw("GET", path)[1]
    bob.refused("POST", f"/v1/tasks/{first}/cancel")
    alice.ask("POST", f"/v1/batches/{batch['batch']['id']}/cancel")
    alice.ask("POST", f"/v1/tasks/{first}/cancel")
    assert alice.wait(waits)["state"] == "done"
    assert alice.get(f"/v1/tasks/{waits}/log") == f"{ALICE}\n555\nenvsecret\n"
    machine.restart()
    bob.refused("GET", f"/v1/tasks/{waits}/log")
    assert "hidden" not in bob.raw("GET", "/v1/tasks")[1] + bob.raw("GET", f"/v1/batches/{batch['batch']['id']}")[1]


def test_a_connection_handed_on_is_not_believed(machine):
    """Bob connects and hands the connection to root's process: what runs there is not Bob any more."""
    connection = UnixConnection(machine.socket)
    os.seteuid(BOB)
    try:
        connection.connect()
    finally:
        os.seteuid(0)
    connection.request("POST", "/v1/tasks", json.dumps({"command": ["id"], "request": CPU}))
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == 403 and "another user's by now" in text, text


def test_one_user_does_not_keep_the_others_out(machine):
    bob, alice = machine.user(BOB), machine.user(ALICE)
    held = 0
    while bob.say(listen="/v1/events") == 200:
        held += 1
        assert held < 64, "no limit for one user"
    assert held == 24
    assert "24 connections" in bob.refused("GET", "/v1/status", status=429)
    assert alice.output("echo", "served") == "served\n"
    assert machine.root("GET", "/v1/status")["queue"]


def test_one_user_does_not_fill_the_daemons_memory(machine):
    """Large bodies, each of them allowed and none of them finished."""
    size, connections = 60 << 20, []
    for _ in range(3):
        connection = UnixConnection(machine.socket)
        os.seteuid(BOB)
        try:
            connection.connect()
        finally:
            os.seteuid(0)
        connections.append(connection)
        connection.putrequest("POST", "/v1/batches")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        connection.send(b" " * (size - 1))
    # The third is not kept: it is answered when its end has come, the first two wait for theirs.
    connections[2].send(b" ")
    answer = connections[2].getresponse()
    assert answer.status == 429 and b"128 MiB" in answer.read()
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", open(f"/proc/{machine.pid('daemon')}/status").read())[1])
    assert SANITIZED or resident < 300 << 10, f"{resident} kB"
    assert machine.user(ALICE).output("echo", "served") == "served\n"
    for connection in connections:
        connection.close()


def test_which_daemon_a_client_talks_to(machine):
    # None of his own runs: the machine's.
    task = machine.cli(ALICE, "submit", "--cpu", "only", "--", "id", "-u", check=0).stdout.strip()
    assert machine.cli(ALICE, "wait", task, check=0)
    assert machine.cli(ALICE, "logs", task, check=0).stdout == f"{ALICE}\n"
    assert machine.root("GET", f"/v1/tasks/{task}")["task"]["uid"] == ALICE
    # He asks for one of his own: it is started, and from then on it is his.
    own = {"PLIMSOLL_SYSTEM": "0"}
    assert "no tasks" in machine.cli(ALICE, "queue", env=own, check=0).stdout
    assert "no tasks" in machine.cli(ALICE, "queue", check=0).stdout
    assert task in machine.cli(ALICE, "queue", env={"PLIMSOLL_SYSTEM": "1"}, check=0).stdout
    machine.cli(ALICE, "serve", "--stop", check=0)
    assert "for root" in machine.cli(ALICE, "serve", "--system", "--stop").stderr
    machine.box.plimsoll("serve", "--system", "--stop", check=0)
    assert machine.process.wait(timeout=PATIENCE) == 0
    done = machine.cli(ALICE, "queue", env={"PLIMSOLL_SYSTEM": "1"})
    assert done.returncode == 3 and "PLIMSOLL_SYSTEM" in done.stderr
    assert "must be run by root" in machine.cli(ALICE, "serve", "--system").stderr


def test_a_daemon_of_the_machine_that_is_not_roots_is_not_talked_to(machine):
    folder = machine.box.dir / "false"
    folder.mkdir(mode=0o755)
    listener = socket.socket(socket.AF_UNIX)
    os.seteuid(BOB)
    try:
        os.seteuid(0)
        os.chown(folder, BOB, BOB)
        os.seteuid(BOB)
        listener.bind(str(folder / "api.sock"))
        listener.listen()
    finally:
        os.seteuid(0)
    os.chmod(folder / "api.sock", 0o666)
    env = {"PLIMSOLL_SYSTEM": "1", "PLIMSOLL_SYSTEM_RUNTIME_DIR": str(folder)}
    done = machine.cli(ALICE, "submit", "--cpu", "only", "--", "true", env=env)
    assert done.returncode == 3 and "refusing to talk to it" in done.stderr
    # Even when the socket's file is root's: who listens is what counts.
    os.chown(folder / "api.sock", 0, 0)
    done = machine.cli(ALICE, "submit", "--cpu", "only", "--", "true", env=env)
    assert done.returncode == 3 and f"user {BOB} listens" in done.stderr
    listener.settimeout(0.2)
    taken, _ = listener.accept()
    taken.settimeout(PATIENCE)
    assert taken.recv(1) == b"", "not a byte was sent"
    listener.close()
    taken.close()


def test_the_units_are_right(sandbox):
    """What systemd itself says of them; and that tasks outlive the daemon in both."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze")
    for kind, bus in (("system", ["--system"]), ("user", ["--user"])):
        text = (BUILD / "data" / "systemd" / f"{kind}.service").read_text()
        for line in ("Type=notify", "KillMode=process", "Delegate=yes", "OOMPolicy=continue"):
            assert f"\n{line}\n" in text, (kind, line)
        (sandbox.dir / kind).mkdir()
        unit = sandbox.dir / kind / "plimsoll.service"
        unit.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={BUILD}/plimsoll", text))
        done = sandbox.run("systemd-analyze", *bus, "verify", "--man=no", unit, check=0)
        # Known from systemd 254 on; before that it says that it passes this one line over, and takes the rest.
        known = re.compile(r"\S+/plimsoll\.service:\d+: Unknown key( name)? 'DelegateSubgroup' in section .*, ignoring\.")
        said = [line for line in done.stderr.splitlines() if not known.fullmatch(line)]
        assert not any("plimsoll" in line for line in said), done.stderr


def test_a_service_manager_is_told_when_it_is_ready(sandbox):
    path = sandbox.dir / "notify"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(path))
    listener.settimeout(PATIENCE)
    sandbox.start_plimsoll("serve", env={"NOTIFY_SOCKET": str(path)}, stderr=subprocess.DEVNULL)
    assert listener.recv(100) == b"READY=1"
    assert sandbox.json("queue")["tasks"] == []
    listener.close()


def test_a_log_beside_the_work(sandbox):
    rows = sandbox.file("rows", "one\ntwo\n")
    sandbox.plimsoll("batch", "--cpu", "only", "--log", "logs/{line}.log", rows, "--", "echo", "did", "{line}", check=0)
    assert [(sandbox.dir / "logs" / f"{name}.log").read_text() for name in ("one", "two")] == ["did one\n", "did two\n"]
    done = sandbox.plimsoll("run", "--cpu", "only", "--log", "out.log", "--", "echo", "shown", check=0)
    assert done.stdout == "shown\n" and (sandbox.dir / "out.log").read_text() == "shown\n"
    assert "--log is empty" in sandbox.plimsoll("submit", "--cpu", "only", "--log", "", "--", "true", check=2).stderr
