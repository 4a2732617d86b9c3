"""kill -9 of anything of ours, at any moment: nothing lost, nothing run twice."""

import os
import resource
import signal
import sqlite3

import pytest
from api_link import CPU, SIMTASK, Daemon, counter
from conftest import PATIENCE, wait_until

GIB = 1 << 30


@pytest.fixture
def daemon(two_gpus):
    return Daemon(two_gpus)


def check_once(daemon, notes, batch, n):
    answer = daemon.wait_batch(batch)
    assert answer["batch"]["done"] == n, [t["reason"] for t in answer["tasks"] if t["state"] != "done"]
    assert sorted(notes(), key=float) == sorted((f"{task['id']}.1" for task in answer["tasks"]), key=float)


@pytest.mark.parametrize("rounds", [1, 6])
def test_the_daemon_is_killed_in_the_midst(daemon, rounds):
    command, notes = counter(daemon.box)
    batch = daemon.batch([command + ["0.15"]] * 30, CPU, threads=4)["batch"]["id"]
    for n in range(rounds):
        wait_until(lambda n=n: len(notes()) >= 3 * (n + 1), what="progress")
        daemon.kill()
        daemon.start()
    check_once(daemon, notes, batch, 30)


def test_the_daemon_is_killed_right_after_the_submit(daemon):
    command, notes = counter(daemon.box)
    batch = daemon.batch([command + ["0"]] * 10, CPU)["batch"]["id"]
    daemon.kill()
    daemon.start()
    check_once(daemon, notes, batch, 10)


def test_tasks_that_end_while_no_daemon_is_there(daemon):
    ends = daemon.box.file("ends", "")
    killed = daemon.box.dir / "killed"
    until_killed = f"while [ ! -e {killed} ]; do sleep 0.05; done"
    good = daemon.task("sh", "-c", f"{until_killed}; echo good >> {ends}", request=CPU)
    bad = daemon.task("sh", "-c", f"{until_killed}; echo bad >> {ends}; exit 9", request=CPU)
    for task in (good, bad):
        wait_until(lambda task=task: daemon.get(f"/v1/tasks/{task}")["task"]["state"] == "running")
    daemon.kill()
    killed.touch()
    wait_until(lambda: sorted(ends.read_text().split()) == ["bad", "good"], what="the tasks' ends")
    daemon.start()
    assert daemon.wait(good)["state"] == "done"
    ended = daemon.wait(bad)
    assert ended["attempts"][0]["exit_code"] == 9 and len(ended["attempts"]) == 1


def test_what_was_waited_for_has_ended_in_the_store_only(daemon):
    """A daemon killed between the end of a task and what that means for who waits left such rows."""
    first = daemon.task("sleep", "60", request=CPU)
    wait_until(lambda: daemon.get(f"/v1/tasks/{first}")["task"]["state"] == "running")
    good, bad, last = (
        daemon.task("true", request=CPU, after=after)
        for after in ({"tasks": [first]}, {"tasks": [first], "on": "failure"}, {"tasks": [first], "on": "end"})
    )
    daemon.kill()
    with sqlite3.connect(daemon.state / "state.db") as store:
        store.execute("UPDATE task SET state = 'done' WHERE id = ?", [first])
    store.close()
    daemon.start()
    assert daemon.wait(good)["state"] == "done"
    assert daemon.wait(last)["state"] == "done"
    assert f"task {first} ended well" in daemon.wait(bad)["reason"]


def test_a_running_task_keeps_its_allocation_over_a_restart(daemon):
    task = daemon.task(SIMTASK, "--vram", "6G", "--seconds", "60", request={"vram_bytes": 7 * GIB})
    wait_until(lambda: daemon.get(f"/v1/tasks/{task}")["task"]["state"] == "running")
    daemon.kill()
    daemon.start()

    def held():
        gpus = daemon.get("/v1/gpus")["gpus"]
        return [h for gpu in gpus for h in gpu["holders"] if h["kind"] == "task" and h["used_bytes"] and h["pids"]]

    holder = wait_until(held, what="the holder")[0]
    assert holder["allocated_bytes"] == 7 * GIB and holder["used_bytes"] >= 6 * GIB
    assert daemon.get(f"/v1/tasks/{task}")["task"]["state"] == "running"
    daemon.post(f"/v1/tasks/{task}/cancel")
    assert daemon.wait(task)["state"] == "canceled"


def test_the_supervisor_is_killed(daemon):
    command, notes = counter(daemon.box)
    batch = daemon.batch([command + ["0.3"]] * 12, CPU, threads=3, on_failure="continue")["batch"]["id"]
    wait_until(lambda: len(notes()) >= 3, what="progress")
    os.kill(daemon.supervisor_pid(), signal.SIGKILL)
    answer = daemon.wait_batch(batch)["batch"]
    # How those ended that ran meanwhile may be unknown; nothing is run twice, nothing is forgotten.
    assert answer["done"] + answer["failed"] == 12 and answer["done"] >= 9
    ran = [note.split(".")[0] for note in notes()]
    assert len(ran) == len(set(ran)) == 12


def test_all_are_killed(daemon):
    """Whether one ran is always known, if not how it ended: all run, each once."""
    command, notes = counter(daemon.box)
    batch = daemon.batch([command + ["0.1"]] * 40, CPU, threads=4, on_failure="continue")["batch"]["id"]
    for n in range(5):
        wait_until(lambda n=n: len(notes()) >= 5 * (n + 1), what="progress")
        os.kill(daemon.supervisor_pid(), signal.SIGKILL)
        daemon.kill()
        daemon.start()
    answer = daemon.wait_batch(batch)
    assert {t["state"] for t in answer["tasks"]} <= {"done", "lost"}
    assert answer["batch"]["done"] >= 20
    assert sorted(int(note.split(".")[0]) for note in notes()) == sorted(t["id"] for t in answer["tasks"])


def test_nvml_hangs_and_what_needs_no_gpu_runs_on(simulated):
    box = simulated(scenario={"gpus": [{"model": "rtx-3070"}], "timeline": [{"at": "3s", "gpu": 0, "event": "hang"}]})
    daemon = Daemon(box)
    task = daemon.task("sleep", "4", request={"vram_bytes": GIB})
    wait_until(lambda: daemon.get("/v1/gpus")["source"] == "stale", timeout=PATIENCE, what="staleness")
    cpu = daemon.task("true", request=CPU)
    assert daemon.wait(cpu)["state"] == "done"
    waits = daemon.task("true", request={"vram_bytes": GIB})
    assert "stale" in daemon.get(f"/v1/tasks/{waits}/why")["reason"]
    assert daemon.wait(task)["state"] == "done"
    assert daemon.get(f"/v1/tasks/{waits}")["task"]["state"] == "waiting"
    gpus = daemon.get("/v1/gpus")
    assert gpus["stale_since"] and gpus["gpus"][0]["health"] == "stale"


def test_without_a_driver_what_needs_no_gpu_runs(sandbox):
    daemon = Daemon(sandbox)
    assert daemon.wait(daemon.task("true", request=CPU))["state"] == "done"
    answer = daemon.get("/v1/gpus")
    assert answer["gpus"] == [] and answer["source"] == "no-library" and answer["text"]
    assert "there is none" in daemon.refused("POST", "/v1/tasks", {"command": ["true"]}, 422)


def test_state_that_cannot_be_written_accepts_nothing(sandbox):
    daemon = Daemon(sandbox)
    command, notes = counter(sandbox)
    before = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1, before[1]))
    body = {"command": command + ["0"], "request": CPU, "env": daemon.environment()}
    daemon.refused("POST", "/v1/tasks", body, 503)
    daemon.refused("POST", "/v1/batches", {"tasks": [{"command": command + ["0"], "request": CPU}]}, 503)
    assert daemon.get("/v1/tasks")["tasks"] == []
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, before)

    def accepted():
        status, answer = daemon.ask("POST", "/v1/tasks", body)
        return answer["task"]["id"] if status == 200 else None

    task = wait_until(accepted, what="a submit to be accepted again")
    assert daemon.wait(task)["state"] == "done"
    assert notes() == [f"{task}.1"]
    daemon.kill()
    daemon.start()
    assert [t["id"] for t in daemon.get("/v1/tasks")["tasks"]] == [task]
