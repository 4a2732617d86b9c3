"""A GPU is lost under running tasks: their programs die before any sample can tell, and none of it is their fault."""

import pytest
from api_link import SIMTASK, Daemon
from conftest import BUILD, wait_until

GIB = 1 << 30


def inject(box, event):
    box.run(BUILD / "plimsoll-sim", "inject", event, check=0)


def on_gpu(daemon, index):
    gpu = daemon.get("/v1/gpus")["gpus"][index]
    return [holder["task"] for holder in gpu["holders"] if holder["kind"] == "task" and holder["pids"]]


@pytest.mark.parametrize("event", ["gpu: 1, event: lost, xid: 79", "gpu: 1, event: lost", "gpu: 1, event: lost, listing: smaller"])
def test_its_tasks_run_again_elsewhere_and_the_batch_goes_on(two_gpus, event):
    daemon = Daemon(two_gpus)
    batch = daemon.batch([[SIMTASK, "--vram", "1G", "--seconds", "1.5", "--util", "10"]] * 8, {"vram_bytes": GIB}, on_failure="stop", policy="spread")
    batch_id = batch["batch"]["id"]
    hit = set(wait_until(lambda: len(on_gpu(daemon, 1)) >= 2 and on_gpu(daemon, 1), what="tasks on GPU 1"))
    inject(two_gpus, event)
    answer = daemon.wait_batch(batch_id)
    assert answer["batch"]["state"] == "done" and answer["batch"]["done"] == 8
    for task in answer["tasks"]:
        outcomes = [attempt["outcome"] for attempt in task["attempts"]]
        assert outcomes in (["ok"], ["gpu-lost", "ok"]), outcomes
        if task["id"] in hit and outcomes != ["ok"]:
            assert [gpu["index"] for gpu in task["attempts"][-1]["gpus"]] == [0]
    assert any(len(task["attempts"]) == 2 for task in answer["tasks"])


def test_an_error_of_its_own_is_none_of_the_gpu(two_gpus):
    daemon = Daemon(two_gpus)
    task = daemon.task("sh", "-c", "exit 5", request={"vram_bytes": GIB})
    ended = daemon.wait(task)
    assert ended["state"] == "failed" and len(ended["attempts"]) == 1
    assert ended["attempts"][0]["outcome"] == "error" and ended["attempts"][0]["exit_code"] == 5


def test_an_end_not_yet_judged_survives_the_daemon(two_gpus):
    """The supervisor keeps it until it is on record: whoever comes next judges it."""
    daemon = Daemon(two_gpus)
    inject(two_gpus, "event: slow, delay: 20ms")
    task = daemon.task("sh", "-c", "sleep 0.5; exit 5", request={"vram_bytes": GIB})
    wait_until(lambda: "awaited" in daemon.get(f"/v1/tasks/{task}/why")["reason"], what="the pause")
    assert daemon.get(f"/v1/tasks/{task}")["task"]["state"] == "running"
    daemon.kill()
    daemon.start()
    ended = daemon.wait(task)
    assert ended["state"] == "failed" and len(ended["attempts"]) == 1
    assert ended["attempts"][0]["exit_code"] == 5
