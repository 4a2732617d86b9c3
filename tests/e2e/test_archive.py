"""What ended long ago: archived, then forgotten; with its logs and environments, and never lost on the way."""

import os
import random
import re
import sqlite3
import time

import pytest
from api_link import CPU, Daemon
from conftest import wait_until


def configured(box, text):
    folder = box.dir / "config" / "plimsoll"
    folder.mkdir(exist_ok=True)
    (folder / "plimsoll.yaml").write_text(text)
    return Daemon(box)


def rows(daemon, question):
    with sqlite3.connect(f"file:{daemon.state}/state.db?mode=ro", uri=True) as db:
        return db.execute(question).fetchall()


def ended_batch(daemon, n, name="b", **members):
    body = {"name": name, "env": [*daemon.environment(), f"MINE={name}"], "cwd": str(daemon.box.dir), "on_failure": "continue",
            "tasks": [{"command": ["sh", "-c", f"echo {name} {i}; exit {i % 2}"], "request": CPU, "name": f"{name}-{i}",
                       "fingerprint": f"{name}{i}"} for i in range(n)], **members}
    answer = daemon.post("/v1/batches", body)
    daemon.wait_batch(answer["batch"]["id"])
    return answer


def test_archived_and_forgotten(sandbox):
    daemon = configured(sandbox, "keep: {ended_tasks: 10, archived_tasks: 20}\n")
    ended_batch(daemon, 15, "old")
    logs = daemon.state / "logs"
    wait_until(lambda: rows(daemon, "SELECT count(*) FROM task")[0][0] <= 10 and
               rows(daemon, "SELECT count(*) FROM archive WHERE logs > 0")[0][0] == 0, what="the archive")
    # Who was archived is known still: the same numbers, less about each.
    tasks = daemon.get("/v1/batches/1")["tasks"]
    assert [task["id"] for task in tasks] == list(range(1, 16))
    assert [task["state"] for task in tasks] == [("done", "failed")[i % 2] for i in range(15)]
    first = daemon.get("/v1/tasks/1")["task"]
    assert first["archived"] is True and first["request"] is None and first["name"] == "old-0"
    assert first["command"] == ["sh", "-c", "echo old 0; exit 0"]
    assert first["attempts"][0]["exit_code"] == 0 and first["attempts"][0]["peak_vram_bytes"] is None
    assert daemon.get("/v1/tasks/15")["task"]["archived"] is False
    assert "ended" not in sandbox.plimsoll("why", "1", check=0).stderr
    assert "old-0" in sandbox.plimsoll("show", "1", check=0).stdout
    left = {path.name for path in logs.rglob("*.log")}
    assert "1.1.log" not in left and "15.1.log" in left
    daemon.kill()
    daemon.start()
    assert "5 of the 15 tasks of batch 1 are archived" in daemon.refused("POST", "/v1/tasks/14/retry", None, 404)
    # What ended well is skipped by --resume, archived or not; what failed is done again.
    again = ended_batch(daemon, 15, "old", resume=True)
    assert again["skipped"] == 8
    ended_batch(daemon, 25, "new")
    wait_until(lambda: rows(daemon, "SELECT count(*) FROM archive")[0][0] <= 20 and
               rows(daemon, "SELECT count(*) FROM task")[0][0] <= 10, what="the bounds")
    assert daemon.ask("GET", "/v1/tasks/1")[0] == 404
    wait_until(lambda: daemon.ask("GET", "/v1/batches/1")[0] == 404, what="the batch to go with its tasks")
    wait_until(lambda: len(rows(daemon, "SELECT id FROM environment")) <= 2, what="the environments")
    daemon.kill()
    daemon.start()
    assert daemon.task("true", request=CPU) == 48, "numbers go on"


def test_a_folder_of_logs_that_is_wanted_stays(sandbox):
    """A start makes the folder and writes into it a while later: it is not removed in between."""
    daemon = configured(sandbox, "keep: {ended_tasks: 1}\n")
    own = str(sandbox.dir / "own.log")
    lives = daemon.task("sleep", "600", request=CPU, log=own)
    ended_batch(daemon, 3)
    daemon.wait(daemon.task("true", request=CPU, log=own))
    folder = daemon.state / "logs" / "0"
    wait_until(lambda: not list(folder.glob("*.log")), what="the logs")
    wait_until(lambda: rows(daemon, "SELECT count(*) FROM archive WHERE logs > 0")[0][0] == 0, what="the archive")
    assert folder.is_dir()
    daemon.post(f"/v1/tasks/{lives}/cancel")


def test_killed_while_archiving(sandbox):
    daemon = configured(sandbox, "keep: {ended_tasks: 100000}\n")
    ended_batch(daemon, 400)
    before = {task["id"]: task["state"] for task in daemon.get("/v1/batches/1")["tasks"]}
    daemon.kill()
    daemon = configured(sandbox, "keep: {ended_tasks: 5}\n")
    chance = random.Random(4)
    while rows(daemon, "SELECT count(*) FROM task")[0][0] > 5:
        time.sleep(1 + chance.random() * 0.1)  # the moment of the kill, not a wait for anything
        daemon.kill()
        assert rows(daemon, "SELECT count(*) FROM (SELECT id FROM task UNION SELECT id FROM archive)")[0][0] == 400
        assert rows(daemon, "SELECT count(*) FROM task JOIN archive USING (id)")[0][0] == 0
        daemon.start()
    after = {task["id"]: task["state"] for task in daemon.get("/v1/batches/1")["tasks"]}
    assert after == before
    wait_until(lambda: len(list((daemon.state / "logs").rglob("*.log"))) == 5, what="the logs")


def test_the_file_shrinks(sandbox):
    daemon = configured(sandbox, "keep: {ended_tasks: 10, archived_tasks: 10}\n")
    daemon.task("sleep", "1000", request={**CPU, "cpus": os.cpu_count()})
    daemon.batch([["false", "x" * 1000, str(i)] for i in range(2000)], request={**CPU, "cpus": 1})
    grown = (daemon.state / "state.db").stat().st_size + (daemon.state / "state.db-wal").stat().st_size
    daemon.post("/v1/batches/1/cancel")
    daemon.wait_batch(1)
    page = rows(daemon, "PRAGMA page_size")[0][0]
    wait_until(lambda: rows(daemon, "PRAGMA page_count")[0][0] * page < grown / 4, what="a smaller file")


@pytest.mark.parametrize("version", (1, 2))
def test_a_file_of_an_earlier_version(sandbox, version):
    from conftest import ROOT
    folder = sandbox.dir / "state" / "plimsoll"
    folder.mkdir(mode=0o700)
    with sqlite3.connect(folder / "state.db") as db:
        db.executescript((ROOT / f"tests/cases/store/v{version}.sql").read_text())
    daemon = Daemon(sandbox)
    newest = re.search(r"STORE_SCHEMA_VERSION (\d+)", (ROOT / "src/store/store.h").read_text())[1]
    assert rows(daemon, "PRAGMA auto_vacuum")[0][0] == 2 and rows(daemon, "PRAGMA user_version")[0][0] == int(newest)
    wait_until(lambda: daemon.get("/v1/tasks/41")["task"]["state"] == "lost")
