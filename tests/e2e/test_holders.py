"""Who holds a GPU: header and holders of one answer are of one mind, whatever ended since the sample."""

from api_link import SIMTASK, Daemon
from conftest import BUILD, wait_until

GIB = 1 << 30


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


def test_memory_that_does_not_come_back(two_gpus):
    """A driver that lists a process of a task that has ended, and its memory (a zombie, one that hangs in the kernel)."""
    daemon = Daemon(two_gpus)
    task = daemon.task(SIMTASK, "--vram", "1G", "--seconds", "1.5", name="train", request={"vram_bytes": 2 * GIB, "pin": "0"})

    def holders():
        return daemon.get("/v1/gpus")["gpus"][0]["holders"]

    pid = wait_until(lambda: next((h["pids"][0] for h in holders() if h["pids"]), None), what="its process")
    two_gpus.run(BUILD / "plimsoll-sim", "inject", f"{{event: foreign, gpu: 0, vram: 5G, pid: {pid}, ends_at: 8s, stays: true}}", check=0)
    assert daemon.wait(task)["state"] == "done"
    left = wait_until(lambda: next((h for h in holders() if h["kind"] == "leftover"), None), what="what it left")
    assert left["task"] == task and left["pids"] == [pid] and left["used_bytes"] == 5 * GIB
    gpu = daemon.get("/v1/gpus")["gpus"][0]
    assert gpu["vram"]["room_bytes"] == gpu["vram"]["load_line_bytes"] - 5 * GIB
    shown = two_gpus.plimsoll("gpus").stdout
    assert f"task {task} has ended, its process {pid} still holds 5 GiB: kill -9 {pid}" in shown, shown
    wait_until(lambda: f"its process {pid} still holds 5 GiB on GPU 0" in daemon.log.read_text(), what="the log")
    # It vanishes when NVML does not show it any more, and only then there is room.
    large = daemon.task(SIMTASK, "--vram", "8G", "--seconds", "0.1", request={"vram_bytes": 8 * GIB, "pin": "0"})
    assert daemon.get(f"/v1/tasks/{large}")["task"]["state"] == "waiting"
    assert daemon.wait(large)["state"] == "done"
    assert not [h for h in holders() if h["kind"] == "leftover"]


def test_header_and_holders_agree_all_through_a_batch(two_gpus):
    daemon = Daemon(two_gpus)
    batch = daemon.batch([[SIMTASK, "--vram", "0.5G", "--seconds", "0.1", "--util", "5"]] * 60, {"vram_bytes": GIB})["batch"]["id"]
    answers = 0
    while daemon.get(f"/v1/batches/{batch}?limit=0")["batch"]["state"] == "running":
        for gpu in daemon.get("/v1/gpus")["gpus"]:
            assert agree(gpu), gpu
            answers += 1
    assert answers > 10
