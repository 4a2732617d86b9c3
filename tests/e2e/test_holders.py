"""Who holds a GPU: header and holders of one answer are of one mind, whatever ended since the sample."""

from api_link import SIMTASK, Daemon
from conftest import BUILD, wait_until

GIB = 1 << 30


def agree(gpu):
    """The foreign holders are within what the header calls foreign."""
    foreign = sum(holder["used_bytes"] or 0 for holder in gpu["holders"] if holder["kind"] == "foreign")
    return foreign <= gpu["vram"]["foreign_bytes"]


def test_a_task_that_ended_while_nvml_hangs_is_no_holder(two_gpus):
    daemon = Daemon(two_gpus)
    task = daemon.task(SIMTASK, "--vram", "1G", "--seconds", "1.5", request={"vram_bytes": 2 * GIB, "pin": "0"})
    wait_until(lambda: any(h["pids"] for h in daemon.get("/v1/gpus")["gpus"][0]["holders"]), what="its process")
    two_gpus.run(BUILD / "plimsoll-sim", "inject", "{event: hang}", check=0)
    assert daemon.wait(task)["state"] == "done"
    wait_until(lambda: daemon.get("/v1/gpus")["source"] == "stale", what="stale")
    gpu = daemon.get("/v1/gpus")["gpus"][0]
    assert gpu["holders"] == [] and gpu["vram"]["foreign_bytes"] == 0 and gpu["vram"]["used_bytes"] < GIB
    shown = two_gpus.plimsoll("gpus").stdout
    assert shown.count("stale since") == 2 and "(since" not in shown, shown
    two_gpus.run(BUILD / "plimsoll-sim", "inject", "{event: unhang}", check=0)


def test_header_and_holders_agree_all_through_a_batch(two_gpus):
    daemon = Daemon(two_gpus)
    batch = daemon.batch([[SIMTASK, "--vram", "0.5G", "--seconds", "0.1", "--util", "5"]] * 60, {"vram_bytes": GIB})["batch"]["id"]
    answers = 0
    while daemon.get(f"/v1/batches/{batch}?limit=0")["batch"]["state"] == "running":
        for gpu in daemon.get("/v1/gpus")["gpus"]:
            assert agree(gpu), gpu
            answers += 1
    assert answers > 10
