"""From a submit to the end of a task, over the API, on simulated GPUs."""

import time

import pytest
from api_link import CPU, SIMTASK, Daemon
from conftest import wait_until

GIB = 1 << 30


@pytest.fixture
def daemon(two_gpus):
    return Daemon(two_gpus)


def test_a_task_runs_where_it_was_placed(daemon):
    gpus = daemon.get("/v1/gpus")["gpus"]
    assert [gpu["name"] for gpu in gpus] == ["NVIDIA GeForce RTX 5070 Ti", "NVIDIA GeForce RTX 2080 SUPER"]
    shell = 'echo "$CUDA_VISIBLE_DEVICES|$PLIMSOLL_GPU_UUID|$CUDA_DEVICE_ORDER|$PLIMSOLL_DEVICE|$0|$1|$2|{{}}"'
    task = daemon.task("sh", "-c", shell, "{device}", "{gpu}", "{vram_mib}", request={"vram_bytes": 2 * GIB, "pin": "1"})
    ended = daemon.wait(task)
    uuid = gpus[1]["uuid"]
    assert ended["state"] == "done"
    assert [(gpu["index"], gpu["uuid"], gpu["vram_bytes"]) for gpu in ended["attempts"][0]["gpus"]] == [(1, uuid, 2 * GIB)]
    assert ended["attempts"][0]["outcome"] == "ok" and ended["attempts"][0]["exit_code"] == 0
    log = daemon.ask("GET", f"/v1/tasks/{task}/log")[1]
    assert log == f"{uuid}|{uuid}|PCI_BUS_ID|cuda:0|cuda:0|1|2048|{{}}\n"


def test_a_daemon_that_asks_no_engine_does_not_load_the_http_client(daemon):
    maps = open(f"/proc/{daemon.process.pid}/maps").read()
    assert "libmicrohttpd" in maps
    assert "libcurl" not in maps


def test_a_task_on_the_cpu_sees_no_gpu(daemon):
    task = daemon.task("sh", "-c", 'echo "[$CUDA_VISIBLE_DEVICES]$PLIMSOLL_DEVICE$PLIMSOLL_GPU_UUID"', request=CPU)
    assert daemon.wait(task)["attempts"][0]["device"] == "cpu"
    assert daemon.ask("GET", f"/v1/tasks/{task}/log")[1] == "[]cpu\n"


def test_a_batch_uses_both_gpus_and_never_passes_the_load_line(daemon):
    batch = daemon.batch([[SIMTASK, "--vram", "2.4G", "--seconds", "0.3"]] * 20, {"vram_bytes": int(2.5 * GIB)})
    batch_id, used = batch["batch"]["id"], set()
    while daemon.get(f"/v1/batches/{batch_id}?limit=0")["batch"]["state"] == "running":
        for gpu in daemon.get("/v1/gpus")["gpus"]:
            vram = gpu["vram"]
            assert vram["allocated_bytes"] <= vram["load_line_bytes"]
            assert vram["used_bytes"] <= vram["load_line_bytes"]
            if any(holder["kind"] == "task" and holder["pids"] for holder in gpu["holders"]):
                used.add(gpu["index"])
    answer = daemon.get(f"/v1/batches/{batch_id}")
    assert answer["batch"]["done"] == answer["summary"]["done"] == 20
    assert used == {0, 1}
    assert sum(gpu["tasks"] for gpu in answer["summary"]["gpus"]) == 20
    assert all(task["attempts"][0]["peak_vram_bytes"] for task in answer["tasks"])


def test_out_of_memory_is_told_from_other_failures(daemon):
    oom = daemon.task(SIMTASK, "--vram", "30G", "--seconds", "1", request={"vram_bytes": GIB})
    error = daemon.task("sh", "-c", "exit 3", request=CPU)
    killed = daemon.task("sh", "-c", "kill -9 $$", request=CPU)
    missing = daemon.task("/no/such/program", request=CPU)
    assert daemon.wait(oom)["attempts"][-1]["outcome"] == "oom"
    ended = daemon.wait(error)
    assert (ended["state"], ended["attempts"][0]["exit_code"]) == ("failed", 3)
    assert daemon.wait(killed)["attempts"][0]["signal"] == 9
    ended = daemon.wait(missing)
    assert ended["state"] == "failed" and "/no/such/program" in ended["reason"]


def test_what_can_never_fit_is_refused_with_the_largest_room(daemon):
    message = daemon.refused("POST", "/v1/tasks", {"command": ["true"], "request": {"vram_bytes": 14 * GIB}}, 422)
    assert "14 GiB" in message and "11.3" in message
    rows = [{"command": ["true"]}, {"command": ["true"], "request": {"vram_bytes": 14 * GIB}}]
    message = daemon.refused("POST", "/v1/batches", {"tasks": rows}, 422)
    assert "row 2" in message
    assert daemon.get("/v1/tasks")["tasks"] == []
    message = daemon.refused("POST", "/v1/tasks", {"command": ["true"], "request": {"pin": "cuda:7"}}, 422)
    assert "7" in message


def test_why_says_it_in_numbers(daemon):
    first = daemon.task("sleep", "60", request={"vram_bytes": 11 * GIB})
    wait_until(lambda: daemon.get(f"/v1/tasks/{first}")["task"]["state"] == "running")
    second = daemon.task("sleep", "60", request={"vram_bytes": 10 * GIB})
    answer = daemon.get(f"/v1/tasks/{second}/why")
    assert answer["state"] == "waiting" and "GPU 0" in answer["reason"] and "GiB" in answer["reason"]
    assert daemon.get(f"/v1/tasks/{first}/why")["details"]
    daemon.post(f"/v1/tasks/{first}/cancel")
    wait_until(lambda: daemon.get(f"/v1/tasks/{second}")["task"]["state"] == "running")
    assert daemon.get(f"/v1/tasks/{first}")["task"]["state"] == "canceled"
    daemon.post(f"/v1/tasks/{second}/cancel")
    assert daemon.wait(second)["state"] == "canceled"


def test_the_tasks_of_a_batch_by_state(daemon):
    """Who follows a batch asks for the failed ones alone: all of a large one would keep the daemon busy for seconds."""
    commands = [["true"], ["sh", "-c", "exit 7"], ["true"]]
    batch = daemon.batch(commands, CPU, on_failure="continue")["batch"]["id"]
    daemon.wait_batch(batch)
    answer = daemon.get(f"/v1/batches/{batch}?state=failed,lost")
    assert [t["row"] for t in answer["tasks"]] == [2] and answer["summary"]["done"] == 2
    assert len(daemon.get(f"/v1/batches/{batch}")["tasks"]) == 3
    assert "nonsense" in daemon.refused("GET", f"/v1/batches/{batch}?state=nonsense", None, 400)


def test_the_list_is_paged_and_counted(daemon):
    ended = [daemon.task("true", request=CPU) for _ in range(5)]
    for task in ended:
        daemon.wait(task)
    lasting = daemon.task("sleep", "600", request=CPU)
    whole = daemon.get("/v1/tasks")
    order = [lasting, *reversed(ended)]
    assert [t["id"] for t in whole["tasks"]] == order and whole["total"] == 6
    for offset in range(7):
        for limit in (0, 1, 2, 10):
            page = daemon.get(f"/v1/tasks?limit={limit}&offset={offset}")
            assert [t["id"] for t in page["tasks"]] == order[offset : offset + limit], (offset, limit)
            assert page["total"] == 6
    assert [t["id"] for t in daemon.get("/v1/tasks?limit=10&ended=2")["tasks"]] == order[:3]
    assert "1 of 6 tasks" in daemon.box.plimsoll("queue", "-n", "1", check=0).stderr


@pytest.mark.parametrize("on_failure", ["continue", "stop", "ask"])
def test_a_failure_in_a_batch(daemon, on_failure):
    commands = [["sh", "-c", "exit 7"]] + [["true"]] * 5
    batch = daemon.batch(commands, CPU, on_failure=on_failure, threads=1)["batch"]["id"]
    if on_failure == "ask":
        asking = daemon.wait_batch(batch, "asking")["batch"]
        assert asking["failed"] == 1 and asking["waiting"] == 5
        daemon.post(f"/v1/batches/{batch}/continue", {"all": True})
    ended = daemon.wait_batch(batch)["batch"]
    done, canceled = (0, 5) if on_failure == "stop" else (5, 0)
    assert (ended["failed"], ended["done"], ended["canceled"]) == (1, done, canceled)


def test_an_asking_batch_can_be_canceled(daemon):
    batch = daemon.batch([["false"]] + [["true"]] * 3, CPU, on_failure="ask", threads=1)["batch"]["id"]
    daemon.wait_batch(batch, "asking")
    daemon.post(f"/v1/batches/{batch}/cancel")
    ended = daemon.wait_batch(batch)["batch"]
    assert ended["state"] == "canceled" and ended["canceled"] == 3


def test_resume_skips_what_is_done(daemon):
    def rows(codes):
        return [{"command": ["sh", "-c", f"exit {code}"], "fingerprint": f"row-{i}", "request": CPU} for i, code in enumerate(codes)]

    first = daemon.post("/v1/batches", {"tasks": rows([0, 1, 0]), "on_failure": "continue"})
    assert daemon.wait_batch(first["batch"]["id"])["batch"]["failed"] == 1
    again = daemon.post("/v1/batches", {"tasks": rows([0, 0, 0]), "resume": True})
    assert again["skipped"] == 2
    assert daemon.wait_batch(again["batch"]["id"])["batch"]["done"] == 1
    nothing = daemon.post("/v1/batches", {"tasks": rows([0, 0, 0]), "resume": True})
    assert nothing["skipped"] == 3 and nothing["batch"]["state"] == "done"


def test_events_tell_each_start_and_end(daemon):
    events = daemon.events()
    assert next(events)["event"] == "hello"
    batch = daemon.batch([[SIMTASK, "--vram", "1G", "--seconds", "0.2"]] * 3, {"vram_bytes": GIB}, max_per_gpu=2)
    lines, states = [], []
    for event in events:
        if event["event"] == "start":
            lines.append(event["line"])
        if event["event"] == "task":
            states.append((event["task"]["id"], event["task"]["state"]))
        if event["event"] == "batch" and event["batch"]["state"] == "done":
            break
    assert len(lines) == 3
    assert all(line.startswith("GPU 0: ") and " | GPU 1: " in line and "% util" in line for line in lines)
    assert lines[0].count("/2 tasks") == 2
    assert sum(state == "done" for _, state in states) == 3
    assert batch["batch"]["total"] == 3


def test_a_listener_that_reads_late_is_told_how_all_ended(daemon):
    """More than its connection holds: what waits for it is ids, told as they are by the time it reads."""
    late, n = daemon.events(), 1500
    assert next(late)["event"] == "hello"
    batches = []
    for _ in range(3):
        batch = daemon.batch([["sleep", "60"]] * n, CPU, threads=1)["batch"]["id"]
        daemon.post(f"/v1/batches/{batch}/cancel")
        daemon.wait_batch(batch)
        batches.append(batch)
    tasks = {t["id"] for batch in batches for t in daemon.get(f"/v1/batches/{batch}")["tasks"]}
    assert len(tasks) == 3 * n
    canceled = set()
    for event in late:  # ends with the connection's timeout when one is not told
        if event["event"] == "task" and event["task"]["state"] == "canceled":
            canceled.add(event["task"]["id"])
        if canceled == tasks:
            break
    assert canceled == tasks


def test_a_log_is_followed_to_the_end(daemon):
    task = daemon.task("sh", "-c", "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done", request=CPU)
    assert daemon.ask("GET", f"/v1/tasks/{task}/log?follow=1")[1].split("\n") == [f"line {i}" for i in range(1, 6)] + [""]
    assert daemon.ask("GET", f"/v1/tasks/{task}/log?tail=2")[1] == "line 4\nline 5\n"
    assert "no attempt 9" in daemon.refused("GET", f"/v1/tasks/{task}/log?attempt=9", None, 404)


def test_a_big_batch_is_accepted_fast_and_paged(daemon):
    began = time.monotonic()
    commands = [["sleep", "60"]] + [["true", str(i)] for i in range(1, 20000)]
    batch = daemon.batch(commands, CPU, threads=1)["batch"]
    seconds = time.monotonic() - began
    print(f"20,000 rows in {seconds:.2f} s")
    assert batch["total"] == 20000 and seconds < 20
    page = daemon.get(f"/v1/tasks?batch={batch['id']}&limit=10&offset=19990")
    assert page["total"] == 20000 and [task["row"] for task in page["tasks"]] == list(range(19991, 20001))
    assert len(daemon.get("/v1/tasks?limit=5")["tasks"]) == 5
    daemon.post(f"/v1/batches/{batch['id']}/cancel")
    ended = daemon.wait_batch(batch["id"])["batch"]
    assert ended["canceled"] > 19000 and ended["canceled"] + ended["done"] == 20000


def test_a_second_daemon_on_the_same_state_is_refused(daemon):
    done = daemon.box.plimsoll("serve", check=3)
    assert "already" in done.stderr and str(daemon.process.pid) in done.stderr
    assert daemon.get("/v1/status")["pid"] == daemon.process.pid


def test_it_ends_when_told_and_tasks_run_on(daemon):
    task = daemon.task("sleep", "1.5", request=CPU)
    wait_until(lambda: daemon.get(f"/v1/tasks/{task}")["task"]["state"] == "running")
    daemon.post("/v1/shutdown")
    assert daemon.process.wait(timeout=10) == 0
    assert not daemon.socket.exists()
    daemon.start()
    ended = daemon.wait(task)
    assert ended["state"] == "done" and len(ended["attempts"]) == 1
