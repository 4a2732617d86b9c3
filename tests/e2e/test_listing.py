"""Long lists: conditions, pages, orders, JSON lines; made in slices, as fast as the reader takes them."""

import json
import os
import pwd
import socket
import time

import pytest
from api_link import CPU, Daemon, UnixConnection
from conftest import SANITIZED, wait_until

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def daemon(sandbox):
    return Daemon(sandbox)


def ids(answer):
    return [task["id"] for task in answer["tasks"]]


@pytest.fixture
def mixed(daemon):
    """Three done, one failed, one that runs; kinds and names differ."""
    for name, kind, command in (("a.wav", "tiny", "true"), ("b.wav", "tiny", "true"), ("c.mp3", "large", "true"),
                                ("d.mp3", "large", "false")):
        daemon.wait(daemon.task(command, name=name, kind=kind, request=CPU))
    last = daemon.task("sleep", "1000", name="e.wav", kind="tiny", request=CPU)
    wait_until(lambda: daemon.get(f"/v1/tasks/{last}")["task"]["state"] == "running")
    return daemon


def test_conditions(mixed):
    get = lambda query: ids(mixed.get(f"/v1/tasks?{query}"))
    assert get("") == [5, 4, 3, 2, 1]
    assert get("kind=tiny") == [5, 2, 1]
    assert get("kind=tiny&state=done") == [2, 1]
    assert get("state=failed,running") == [5, 4]
    assert get("name=*.mp3") == [4, 3] and get("name=%5Bab%5D.wav") == [2, 1] and get("name=e.wav") == [5]
    assert get(f"user={ME}") == get(f"user={os.geteuid()}") == [5, 4, 3, 2, 1]
    assert get(f"user={os.geteuid() + 1}") == []
    ended = mixed.get("/v1/tasks/2")["task"]["attempts"][0]["ended_at"]
    third = mixed.get("/v1/tasks/3")["task"]["submitted_at"]
    assert get(f"since={ended}") == [5, 4, 3, 2]
    assert get(f"until={third}") == [2, 1]
    assert get("order=oldest") == [1, 2, 3, 4, 5] and get("order=newest") == [5, 4, 3, 2, 1]
    assert get("order=oldest&after=2&limit=2") == [3, 4] and get("order=newest&after=2") == [1]
    assert get("ended=1") == [5, 4] and get("limit=2&offset=1") == [4, 3]
    answer = mixed.get("/v1/tasks?kind=tiny&limit=1&offset=1")
    assert ids(answer) == [2] and answer["total"] == 3
    assert mixed.get("/v1/tasks?limit=0")["total"] == 5
    task = mixed.get("/v1/tasks/1")["task"]
    assert task["user"] == ME and task["archived"] is False
    for query, said in (("order=best", "order=best"), ("after=3", "after: only with"), ("since=noon", "since: "),
                        ("user=nobody-of-that-name", "no user"), ("format=xml", "format=xml"), ("kind=", "kind: ")):
        assert said in mixed.ask("GET", f"/v1/tasks?{query}")[1]["error"]["message"]


def test_the_verb(mixed):
    box = mixed.box
    shown = lambda *args: ids(box.json("queue", *args))
    assert shown("--state", "ended", "--kind", "large") == [4, 3]
    assert shown("--state", "open") == [5] and shown("--name", "*.wav", "--oldest") == [1, 2, 5]
    assert shown("--since", "1h", "--user", ME) == [5, 4, 3, 2, 1]
    assert shown("--until", "yesterday") == [] and shown("--since", "1h", "--until", "1d") == []
    assert shown("--limit", "2", "--page", "2") == [3, 2] and shown("--all", "--newest") == [5, 4, 3, 2, 1]
    done = box.plimsoll("queue", "--limit", "2", check=0)
    assert "e.wav" in done.stdout and "2 of 5 tasks" in done.stderr
    assert "3 of 5" not in box.plimsoll("queue", "--limit", "2", "--page", "3", check=0).stderr
    assert "page 99 of 3" in box.plimsoll("queue", "--limit", "2", "--page", "99", check=1).stderr
    absent = box.plimsoll("hold", "100-200", check=2).stderr
    assert absent.count("\n") == 1 and "101 of these 101 are not there" in absent and "task 100" in absent
    lines = [json.loads(line) for line in box.plimsoll("queue", "--export", check=0).stdout.splitlines()]
    assert [task["id"] for task in lines] == [1, 2, 3, 4, 5] and lines[3]["attempts"][0]["exit_code"] == 1
    assert box.plimsoll("queue", "--export", "--state", "lost", check=0).stdout == ""
    for args, said in ((("--state", "wating"), "is not one of waiting"), (("--since", "noon"), "--since: "),
                       (("--user", "nobody-of-that-name"), "no user")):
        assert said in box.plimsoll("queue", *args, check=2).stderr


def held_up(daemon, rows):
    """A batch of so many rows that wait."""
    daemon.task("sleep", "1000", request={"cpu": "only", "cpus": os.cpu_count()})
    return daemon.batch([["true", f"row {i}"] for i in range(rows)], request={"cpu": "only", "cpus": 1})["batch"]["id"]


def test_a_long_list_holds_nobody_up(daemon):
    rows = 4000 if SANITIZED else 20000
    batch = held_up(daemon, rows)
    connection = UnixConnection(daemon.socket)
    connection.request("GET", f"/v1/tasks?limit={rows + 1}")
    answer = connection.getresponse()
    begun = answer.read(100)
    # The list is not even half made; whoever asks meanwhile is answered.
    for _ in range(20):
        before = time.monotonic()
        daemon.get("/v1/status")
        assert time.monotonic() - before < (5 if SANITIZED else 1)
    whole = json.loads(begun + answer.read())
    assert len(whole["tasks"]) == whole["total"] == rows + 1
    assert len({task["id"] for task in whole["tasks"]}) == rows + 1
    page = daemon.get(f"/v1/tasks?batch={batch}&order=oldest&limit=10&offset={rows - 5}")
    assert ids(page) == list(range(rows - 3, rows + 2)) and page["total"] == rows
    assert len(daemon.get(f"/v1/batches/{batch}")["tasks"]) == rows
    lines = daemon.ask("GET", "/v1/tasks?format=lines")[1].splitlines()
    assert len(lines) == rows + 1


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_closed_pipe_ends_the_work(daemon):
    held_up(daemon, 4000 if SANITIZED else 20000)
    link = socket.socket(socket.AF_UNIX)
    link.connect(str(daemon.socket))
    link.sendall(b"GET /v1/tasks?format=lines HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" in link.recv(100)
    # Who does not read is not written for: the work stands still, then ends with the connection.
    wait_until(lambda: settled(daemon.process.pid), what="a daemon that rests")
    link.close()
    box = daemon.box
    head = box.run("sh", "-c", f"{box.build}/plimsoll queue --export | head -n 1", check=0)
    assert json.loads(head.stdout)["id"] == 1
    wait_until(lambda: settled(daemon.process.pid), what="a daemon that rests")


def settled(pid):
    before = processor_seconds(pid)
    time.sleep(0.3)
    return processor_seconds(pid) - before < 0.03
