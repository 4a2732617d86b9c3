"""What becomes of a task that runs out of memory: each rung of --on-oom, and a daemon that dies in the middle of them."""

import json

import pytest
from api_link import SIMTASK, Daemon
from conftest import wait_until

GIB = 1 << 30
SAYS = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 5.69 GiB"
FALLS = f"{{{{ echo '{SAYS}' >&2; exit 1; }}}}"


@pytest.fixture
def daemon(simulated):
    return Daemon(simulated(gpus="any:6G:1.0,any:12G:1.0"))


def falls(daemon, times, on_oom, request=None, shell="true", **members):
    """It runs out of memory in its first attempts, by its own words, and then does what it is to do."""
    request = {"vram_bytes": GIB, "pin": "0"} if request is None else request
    task = daemon.task(
        "sh", "-c", f"test $PLIMSOLL_ATTEMPT -gt {times} || {FALLS}; {shell}", on_oom=on_oom, request=request, **members
    )
    return daemon.wait(task)


def rungs(task):
    return [attempt["rung"] for attempt in task["attempts"]]


def test_a_real_one_goes_where_there_is_room(daemon):
    task = daemon.task(
        SIMTASK, "--vram", "8G", "--seconds", "0.2", policy="first-fit", kind="k", request={"vram_bytes": 2 * GIB}, retries=3
    )
    ended = daemon.wait(task)
    first, last = ended["attempts"][0], ended["attempts"][-1]
    assert ended["state"] == "done" and ended["failures"] == 0, ended
    assert first["outcome"] == "oom" and first["gpus"][0]["index"] == 0 and first["rung"] is None
    assert first["oom_requested_bytes"] > 0
    assert last["gpus"][0]["index"] == 1 and 2 <= len(ended["attempts"]) <= 4
    assert ended["attempts"][1]["rung"].startswith("retry: ") and ended["attempts"][1]["rung"].endswith(" instead of 2 GiB")
    assert last["gpus"][0]["vram_bytes"] >= 6 * GIB
    # The next of its kind does not have to find out.
    other = daemon.wait(daemon.task(SIMTASK, "--vram", "8G", "--seconds", "0.1", kind="k", request={"vram_bytes": 2 * GIB}))
    assert other["state"] == "done" and [a["outcome"] for a in other["attempts"]] == ["ok"], other
    assert other["attempts"][0]["gpus"][0]["vram_bytes"] > 8 * GIB


def test_retry_reads_the_text(daemon):
    ended = falls(daemon, 1, "retry")
    assert ended["state"] == "done"
    assert rungs(ended) == [None, "retry: 1.55 GiB instead of 1 GiB"]
    assert ended["attempts"][0]["oom_requested_bytes"] == GIB
    shown = daemon.box.plimsoll("show", ended["id"], check=0).stdout
    assert "rung" in shown and "retry: 1.55 GiB instead of 1 GiB" in shown


def test_a_bigger_gpu(daemon):
    ended = falls(daemon, 1, ["bigger-gpu"], request={"vram_bytes": GIB}, policy="first-fit")
    assert [a["gpus"][0]["index"] for a in ended["attempts"]] == [0, 1]
    assert rungs(ended)[1].startswith("bigger-gpu: above 5.")


def test_alone(daemon):
    other = daemon.task(SIMTASK, "--vram", "1G", "--seconds", "3", kind="", request={"vram_bytes": GIB, "pin": "0"})
    wait_until(lambda: daemon.get(f"/v1/tasks/{other}")["task"]["state"] == "running")
    ended = falls(daemon, 1, ["alone"])
    assert ended["state"] == "done" and rungs(ended) == [None, "alone"]
    # It waited for the other to end.
    assert ended["attempts"][1]["started_at"] >= daemon.wait(other)["attempts"][0]["ended_at"]


def test_a_smaller_batch(daemon):
    task = daemon.task(
        "sh", "-c", f"test {{batch_size}} = $PLIMSOLL_BATCH_SIZE && test {{batch_size}} -lt 10 || {FALLS}",
        on_oom="smaller-batch:4", batch_size=33, request={"vram_bytes": GIB},
    )  # fmt: skip
    ended = daemon.wait(task)
    assert ended["state"] == "done"
    assert [a["batch_size"] for a in ended["attempts"]] == [33, 16, 8]
    assert rungs(ended)[1:] == ["smaller-batch: 16 instead of 33", "smaller-batch: 8 instead of 16"]


def test_fail_is_the_end_and_retries_are_not_for_it(daemon):
    ended = falls(daemon, 1, "fail", retries=5)
    assert ended["state"] == "failed" and len(ended["attempts"]) == 1 and ended["failures"] == 0
    assert "no rung is left" in ended["reason"] and "asked for 1 GiB more" in ended["reason"]
    ended = falls(daemon, 9, "smaller-batch", retries=5, batch_size=1)
    assert ended["state"] == "failed" and len(ended["attempts"]) == 1
    assert "smaller-batch passed over (its batch size is 1)" in ended["reason"]


def test_a_batch_says_how_they_were_recovered(simulated):
    box = simulated(gpus="any:6G:1.0")
    path = box.file("rows.json", [{"falls": n} for n in (1, 0, 1, 2)])
    options = ("--vram", "1G", "--cpu", "fallback", "--on-oom", "retry,cpu", "--cpus", "0.1")
    command = ("sh", "-c", f"test $PLIMSOLL_ATTEMPT -gt {{falls}} || {FALLS}")
    done = box.plimsoll("batch", path, "-y", *options, "--", *command, check=0)
    assert "3 tasks ran out of memory and were recovered: 2 by retry, 1 on the CPU" in done.stdout
    batch = json.loads(box.plimsoll("show", "b1", "--json", check=0).stdout)
    assert batch["summary"]["on_cpu"] == 1 and batch["summary"]["oom_recovered"] == 3
    last = [task["attempts"][-1] for task in batch["tasks"]]
    assert [a["device"] for a in last] == ["cuda:0", "cuda:0", "cuda:0", "cpu"]
    assert last[3]["rung"] == "cpu" and "it ran out of GPU memory (rung cpu)" in last[3]["reason"]


def test_no_gpu_can_ever_hold_it(daemon):
    status, answer = daemon.ask("POST", "/v1/tasks", {"command": ["true"], "cwd": "/", "request": {"vram_bytes": 90 * GIB}})
    assert status != 200 and "the largest load line" in answer["error"]["message"]
    ended = daemon.wait(daemon.task("true", request={"vram_bytes": 90 * GIB, "cpu": "fallback"}))
    assert ended["attempts"][0]["device"] == "cpu"
    assert "no GPU here can ever hold it (--cpu fallback)" in ended["attempts"][0]["reason"]


def test_when_idle_takes_the_cpu_while_the_gpu_is_busy(simulated):
    daemon = Daemon(simulated(gpus="any:6G:1.0"))
    busy = daemon.task(SIMTASK, "--vram", "1G", "--seconds", "30", request={"vram_bytes": 5 * GIB})
    wait_until(lambda: daemon.get(f"/v1/tasks/{busy}")["task"]["state"] == "running")
    waits = daemon.task("true", request={"vram_bytes": 5 * GIB, "cpu": "fallback", "cpus": 0.1})
    ended = daemon.wait(daemon.task("true", request={"vram_bytes": 5 * GIB, "cpu": "when-idle", "cpus": 0.1}))
    assert ended["attempts"][0]["device"] == "cpu"
    assert "no GPU takes it now (--cpu when-idle)" in ended["attempts"][0]["reason"]
    assert daemon.get(f"/v1/tasks/{waits}")["task"]["state"] == "waiting"
    for task in (waits, busy):
        daemon.ask("POST", f"/v1/tasks/{task}/cancel")


def test_what_it_asks_for_and_why(daemon):
    alone = daemon.task("sh", "-c", "sleep 30", kind="new", request={})
    wait_until(lambda: daemon.get(f"/v1/tasks/{alone}")["task"]["state"] == "running")
    request = daemon.get(f"/v1/tasks/{alone}")["task"]["request"]
    assert request["vram_source"] == "alone" and request["asks_vram_bytes"] is None and request["vram_bytes"] is None
    default = daemon.task("sh", "-c", "sleep 30", kind="new", request={}, vram_default_bytes=GIB)
    request = daemon.get(f"/v1/tasks/{default}")["task"]["request"]
    assert request["vram_source"] == "default" and request["asks_vram_bytes"] == GIB
    for task in (alone, default):
        daemon.ask("POST", f"/v1/tasks/{task}/cancel")


def test_a_daemon_that_dies_on_the_ladder(daemon):
    flag = daemon.box.dir / "go"
    task = daemon.task(
        "sh", "-c", f"test $PLIMSOLL_ATTEMPT -lt 2 || while ! test -e {flag}; do sleep 0.05; done; "
        f"test $PLIMSOLL_ATTEMPT -gt 2 || {FALLS}",
        on_oom="retry:3", request={"vram_bytes": GIB, "pin": "0"},
    )  # fmt: skip
    wait_until(lambda: len(daemon.get(f"/v1/tasks/{task}")["task"]["attempts"]) == 2)
    wait_until(lambda: daemon.get(f"/v1/tasks/{task}")["task"]["state"] == "running")
    daemon.kill()
    flag.touch()
    daemon.start()
    ended = daemon.wait(task)
    assert ended["state"] == "done" and [a["outcome"] for a in ended["attempts"]] == ["oom", "oom", "ok"], ended
    granted = [a["gpus"][0]["vram_bytes"] for a in ended["attempts"]]
    assert granted == sorted(granted) and granted[0] < granted[1] < granted[2] <= 6 * GIB
    assert rungs(ended)[0] is None and all(rung.startswith("retry: ") for rung in rungs(ended)[1:])
