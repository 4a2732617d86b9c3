"""Who holds a GPU: header and holders of one answer are of one mind, whatever ended since the sample."""

import os
import signal

from api_link import SIMTASK, Daemon
from conftest import BUILD, wait_until

GIB = 1 << 30
# In the machine's first pid namespace one that is not there has ended; in a container's it may be somebody's outside.
SEES_ALL = os.readlink("/proc/self/ns/pid") == "pid:[4026531836]"


def agree(gpu):
    """The foreign holders are within what the header calls foreign."""
    foreign = sum(holder["used_bytes"] or 0 for holder in gpu["holders"] if holder["kind"] == "foreign")
    return foreign <= gpu["vram"]["foreign_bytes"]


def test_a_task_that_ended_while_nvml_hangs_is_no_holder(two_gpus):
    """And its room stays closed: nobody has seen that it is back."""
    daemon = Daemon(two_gpus)
    task = daemon.task(SIMTASK, "--vram", "1G", "--seconds", "1.5", request={"vram_bytes": 2 * GIB, "pin": "0"})
    wait_until(lambda: any(h["pids"] for h in daemon.get("/v1/gpus")["gpus"][0]["holders"]), what="its process")
    two_gpus.run(BUILD / "plimsoll-sim", "inject", "{event: hang}", check=0)
    assert daemon.wait(task)["state"] == "done"
    wait_until(lambda: daemon.get("/v1/gpus")["source"] == "stale", what="stale")
    gpu = daemon.get("/v1/gpus")["gpus"][0]
    vram = gpu["vram"]
    assert gpu["holders"] == [] and vram["foreign_bytes"] == 0 and vram["used_bytes"] == GIB
    assert vram["room_bytes"] in (0, vram["load_line_bytes"] - 2 * GIB)
    shown = two_gpus.plimsoll("gpus").stdout
    assert shown.count("stale since") == 2 and "(since" not in shown, shown
    two_gpus.run(BUILD / "plimsoll-sim", "inject", "{event: unhang}", check=0)


def inject_process(box, gpu, vram, pid, *more):
    event = f"event: foreign, gpu: {gpu}, vram: {vram}, pid: {pid}, stays: true"
    box.run(BUILD / "plimsoll-sim", "inject", "{" + ", ".join((event, *more)) + "}", check=0)


def left_on(daemon, gpu):
    return next((h for h in daemon.get("/v1/gpus")["gpus"][gpu]["holders"] if h["kind"] == "leftover"), None)


def test_memory_that_does_not_come_back(two_gpus):
    """A driver that lists a process of a task that has ended, and its memory (a zombie, one that hangs in the kernel)."""
    daemon = Daemon(two_gpus)
    task = daemon.task(SIMTASK, "--vram", "1G", "--seconds", "1.5", name="train", request={"vram_bytes": 2 * GIB, "pin": "0"})
    holders = lambda: daemon.get("/v1/gpus")["gpus"][0]["holders"]  # noqa: E731
    pid = wait_until(lambda: next((h["pids"][0] for h in holders() if h["pids"]), None), what="its process")
    # On GPU 0 for good; on GPU 1, where the driver lists it too, for a while.
    seconds = float(two_gpus.run(BUILD / "plimsoll-sim", "status", check=0).stdout.split()[0])
    inject_process(two_gpus, 0, "5G", pid)
    inject_process(two_gpus, 1, "3G", pid, f"ends_at: {seconds + 4:.1f}s")
    assert daemon.wait(task)["state"] == "done"
    process = f"dead process {pid}" if SEES_ALL else f"process {pid}"
    large = daemon.task("true", request={"vram_bytes": 8 * GIB, "pin": "0"})

    def is_told():
        left = wait_until(lambda: left_on(daemon, 0), what="what it left")
        assert left["task"] == task and left["pids"] == [pid] and left["used_bytes"] == 5 * GIB
        vram = daemon.get("/v1/gpus")["gpus"][0]["vram"]
        assert vram["room_bytes"] == vram["load_line_bytes"] - 5 * GIB and vram["leftover_bytes"] == 5 * GIB
        shown = two_gpus.plimsoll("gpus").stdout
        assert f"task {task} has ended, its {process} still holds 5 GiB: " in shown, shown
        assert ("kill -9" in shown) is not SEES_ALL
        why = two_gpus.plimsoll("why", large).stdout
        assert f"5 GiB held by process {pid} of task {task}, which has ended" in " ".join(why.split()), why
        assert "used by others" not in why, why

    is_told()
    said = f"its {process} still holds 5 GiB on GPU 0"
    wait_until(lambda: said in daemon.log.read_text(), what="the log")
    # Whose it was outlives the daemon, and the task's place in memory.
    daemon.kill()
    daemon.start()
    is_told()
    wait_until(lambda: daemon.log.read_text().count(said) == 2, what="the log of the next daemon")
    # It vanishes when NVML does not show it any more, and only then there is room.
    small = daemon.task(SIMTASK, "--vram", "6G", "--seconds", "0.1", request={"vram_bytes": 6 * GIB, "pin": "1"})
    assert daemon.wait(small)["state"] == "done" and not left_on(daemon, 1)
    assert daemon.get(f"/v1/tasks/{large}")["task"]["state"] == "waiting"


def test_a_dead_process_is_told(two_gpus):
    """One that is nobody's of ours, and that no kill can reach."""
    daemon = Daemon(two_gpus)
    ended = two_gpus.start("true")
    ended.wait()
    inject_process(two_gpus, 0, "3G", ended.pid)
    holder = wait_until(lambda: next(iter(daemon.get("/v1/gpus")["gpus"][0]["holders"]), None), what="the process")
    assert holder["kind"] == "foreign" and holder["pids"] == [ended.pid] and holder.get("dead", False) is SEES_ALL
    shown = two_gpus.plimsoll("gpus").stdout
    assert (f"dead process {ended.pid} still holds 3 GiB: reset the GPU" in shown) is SEES_ALL, shown
    daemon.stop()
    assert (f"dead process {ended.pid} still holds 3 GiB" in two_gpus.plimsoll("gpus").stdout) is SEES_ALL


def test_header_and_holders_agree_all_through_a_batch(two_gpus):
    daemon = Daemon(two_gpus)
    batch = daemon.batch([[SIMTASK, "--vram", "0.5G", "--seconds", "0.1", "--util", "5"]] * 60, {"vram_bytes": GIB})["batch"]["id"]
    answers = 0
    while daemon.get(f"/v1/batches/{batch}?limit=0")["batch"]["state"] == "running":
        for gpu in daemon.get("/v1/gpus")["gpus"]:
            assert agree(gpu), gpu
            answers += 1
    assert answers > 10


def test_a_foreign_process_that_is_dead(two_gpus):
    daemon = Daemon(two_gpus)
    event = "{event: foreign, gpu: 0, vram: 3G, stays: true, name: dead-one}"
    two_gpus.run(BUILD / "plimsoll-sim", "inject", event, check=0)
    holders = lambda: daemon.get("/v1/gpus")["gpus"][0]["holders"]  # noqa: E731
    pid = wait_until(lambda: next((h["pids"][0] for h in holders() if h["name"] == "dead-one"), None), what="it")
    os.kill(pid, signal.SIGKILL)
    holder = wait_until(lambda: next((h for h in holders() if h["name"] is None), None), what="it is gone")
    assert holder["pids"] == [pid] and holder["used_bytes"] == 3 * GIB and holder.get("dead", False) is SEES_ALL
    if SEES_ALL:
        assert f"dead process {pid} still holds 3 GiB" in two_gpus.plimsoll("gpus").stdout
