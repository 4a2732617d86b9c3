"""plimsoll-sim and plimsoll-simtask from outside: devices, memory, time, failures, and what is left behind."""

import json
import os
import re
import signal
import time

import pytest

from conftest import BUILD, ROOT, wait_until

GIB = 1 << 30
SCENARIOS = sorted((ROOT / "sim" / "scenarios").glob("*.yaml"))


def sim(sandbox, *args, **options):
    return sandbox.run(BUILD / "plimsoll-sim", *args, **options)


def status(box):
    return json.loads(sim(box, "status", "--json", check=0).stdout)


def task(box, *args, **options):
    return box.run(BUILD / "plimsoll-simtask", *args, **options)


def held(box, gpu=0):
    return status(box)["gpus"][gpu]["used_bytes"]


# Running a command


def test_the_verb_hands_the_words_over(two_gpus):
    """`plimsoll sim WORD` is `plimsoll-sim WORD`; after `--` it is a command of that name."""
    assert two_gpus.json("sim", "status")["gpus"] == status(two_gpus)["gpus"]
    two_gpus.plimsoll("sim", "inject", "gpu: 1, event: utilization, percent: 77", check=0)
    assert status(two_gpus)["gpus"][1]["utilization_percent"] == 77
    assert "rtx-a400" in two_gpus.plimsoll("sim", "models", check=0).stdout
    good = two_gpus.file("good.yaml", "{gpus: [{model: rtx-a400}]}")
    assert "1 GPU, 0 events" in two_gpus.plimsoll("sim", "check", good, check=0).stdout
    assert "usage" in two_gpus.plimsoll("sim", "inject", check=2).stderr
    assert "no options of a run" in two_gpus.plimsoll("sim", "--gpus", "rtx-a400", "models", check=2).stderr
    assert "cannot run models" in two_gpus.plimsoll("sim", "--", "models", check=127).stderr
    kept = two_gpus.dir / "kept"
    two_gpus.plimsoll("sim", "--state", kept, "--", "true", check=0)
    assert (kept / "gpus.state").exists()


def test_exit_status_and_signals_come_through(sandbox):
    assert sim(sandbox, "--", "sh", "-c", "exit 7").returncode == 7
    assert sim(sandbox, "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9
    assert sim(sandbox, "--", "no-such-command").returncode == 127


def test_a_signal_to_the_runner_reaches_the_command(sandbox):
    process = sandbox.start(BUILD / "plimsoll-sim", "--", "sh", "-c", "trap 'echo got; exit 5' TERM; echo up; while :; do sleep 0.05; done")
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == "got\n"
    assert process.returncode == 5


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_that_was_started(sandbox, sent):
    """Also what the command itself leaves behind; the temporary folder goes, the status tells the signal."""
    process = sandbox.start(BUILD / "plimsoll", "sim", "--", "sh", "-c", "setsid sleep 1000 & echo $!; sleep 1000")
    pid = int(process.stdout.readline())
    process.send_signal(sent)
    assert process.wait(30) == 128 + sent
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of what it left behind")
    assert not list(sandbox.dir.glob("plimsoll-sim-*"))


def test_what_becomes_another_program_all_the_time_is_ended_too(sandbox):
    """Between two programs a process has no environment to be known by: 3 % of the looks here, so one miss in 30 runs."""
    again = sandbox.dir / "again"
    again.write_text('#!/bin/sh\nexec "$0"\n')
    again.chmod(0o755)
    process = sandbox.start(
        BUILD / "plimsoll", "sim", "--", "sh", "-c", f"for i in 1 2 3 4 5 6; do setsid {again} & echo $!; done; sleep 1000")
    pids = [int(process.stdout.readline()) for _ in range(6)]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), what="their end")


def test_the_command_finds_private_folders_and_the_library(sandbox):
    done = sim(sandbox, "--", "sh", "-c", "env; stat -c %a $XDG_RUNTIME_DIR/..; command -v plimsoll-simtask", check=0)
    env = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    lib = env["LD_LIBRARY_PATH"].split(":")[0]
    assert env["XDG_RUNTIME_DIR"].startswith(str(sandbox.dir)) and env["XDG_STATE_HOME"].startswith(str(sandbox.dir))
    assert lib.startswith(str(sandbox.dir))
    assert "\n700\n" in done.stdout
    assert str(BUILD / "plimsoll-simtask") in done.stdout
    assert not list(sandbox.dir.glob("plimsoll-sim-*")), "the temporary folder is gone"


def test_a_given_folder_is_kept(sandbox):
    sim(sandbox, "--state", sandbox.dir / "kept", "--", "plimsoll-simtask", "--vram", "3G", "--seconds", "0.1", check=0)
    again = sandbox.run(
        BUILD / "plimsoll-sim", "status", "--json", check=0, env={"PLIMSOLL_SIM_STATE": str(sandbox.dir / "kept/gpus.state")}
    )
    assert json.loads(again.stdout)["gpus"][0]["peak_used_bytes"] == 3 * GIB


def test_daemons_named_by_their_pid_files_end_with_the_simulation(sandbox):
    script = """
        mkdir -p $XDG_RUNTIME_DIR/plimsoll
        (trap '' TERM HUP; exec setsid sleep 300) & a=$!
        (exec setsid sleep 300) & b=$!
        for p in daemon:$a supervisor:$b; do
            echo ${p#*:} $(awk '{print $22}' /proc/${p#*:}/stat) > $XDG_RUNTIME_DIR/plimsoll/${p%:*}.pid
        done
        echo $a $b"""
    started = time.monotonic()
    with open(sandbox.dir / "out", "w", encoding="utf-8") as out:
        process = sandbox.start(BUILD / "plimsoll-sim", "--", "sh", "-c", script, stdout=out, stderr=out)
        process.wait(timeout=30)
    pids = (sandbox.dir / "out").read_text().split()
    assert len(pids) == 2
    for pid in pids:
        stat = f"/proc/{pid}/stat"
        assert not os.path.exists(stat) or ") Z" in open(stat, encoding="utf-8").read()
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "args, says",
    [
        (("--gpus", "nosuch", "--", "true"), "no GPU \"nosuch\""),
        (("--gpus", "a:8", "--", "true"), "unit"),
        (("--time-scale", "0", "--", "true"), "--time-scale"),
        (("--gpus", "a:8G", "--scenario", "x", "--", "true"), "exclude"),
        ((), "no command"),
        (("--scenario", "nosuch.yaml", "--", "true"), "nosuch.yaml"),
        (("inject", "event: lost"), "PLIMSOLL_SIM_STATE"),
    ],
)
def test_wrong_usage_is_said(sandbox, args, says):
    done = sim(sandbox, *args)
    assert done.returncode in (2, 3) and says in done.stderr and done.stdout == ""


def test_a_broken_scenario_names_line_and_column(sandbox):
    path = sandbox.file("s.yaml", "gpus:\n  - model: rtx-3090\n    vrram: 3G\n")
    done = sim(sandbox, "--scenario", path, "--", "touch", "ran")
    assert done.returncode == 2 and re.search(r"s\.yaml:3:\d+: ", done.stderr) and "vrram" in done.stderr
    assert not (sandbox.dir / "ran").exists()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_can_be_read(sandbox, path):
    assert re.search(r"\d+ GPUs?, \d+ events?$", sim(sandbox, "check", path, check=0).stdout.strip())


def test_there_is_a_scenario_for_every_event():
    text = "".join(path.read_text(encoding="utf-8") for path in SCENARIOS)
    source = (ROOT / "sim/timeline.c").read_text(encoding="utf-8")
    events = re.findall(r'\[SIM_EVENT_\w+\] = \{"([\w-]+)"', source)
    assert len(events) == 16
    assert [event for event in events if not re.search(rf"event: {event}\b", text)] == []


# A task as a CUDA program


def test_memory_is_live_and_released(two_gpus):
    process = two_gpus.start(BUILD / "plimsoll-simtask", "--vram", "2.5G", "--seconds", "60", "--util", "40")
    wait_until(lambda: held(two_gpus) == 2.5 * GIB)
    gpu = status(two_gpus)["gpus"][0]
    assert gpu["utilization_percent"] == 40
    assert gpu["processes"][0]["pid"] == process.pid
    process.kill()
    process.wait()
    assert held(two_gpus) == 0
    assert status(two_gpus)["gpus"][0]["peak_used_bytes"] == 2.5 * GIB


def test_out_of_memory_in_the_words_of_pytorch(two_gpus):
    first = two_gpus.start(BUILD / "plimsoll-simtask", "--vram", "6G", "--seconds", "60")
    wait_until(lambda: held(two_gpus) == 6 * GIB)
    done = task(two_gpus, "--vram", "9G", "--tensor", "8.84G", check=1)
    assert "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8.84 GiB. GPU 0 has a total capacity of 11." in done.stderr
    assert f"Process {first.pid} has 6.00 GiB memory in use." in done.stderr
    assert re.search(r"of which 5\.\d\d GiB is free", done.stderr)
    assert status(two_gpus)["gpus"][0]["oom_count"] == 1
    assert held(two_gpus) == 6 * GIB


def test_memory_that_ramps_up_fails_on_the_way(two_gpus):
    task(two_gpus, "--vram", "9G", "--ramp", "0.3", "--seconds", "5", check=1, env={"CUDA_VISIBLE_DEVICES": "1"})
    gpu = status(two_gpus)["gpus"][1]
    assert gpu["oom_count"] == 1 and gpu["peak_used_bytes"] > 7 * GIB


def test_a_pool_that_keeps_to_its_fraction(two_gpus):
    """As JAX does: the end of its share, not of the GPU, and the text names the step that failed alone."""
    total = status(two_gpus)["gpus"][0]["total_bytes"]
    env = {"PLIMSOLL_VRAM_FRACTION": "0.5"}
    done = task(two_gpus, "--vram", "9G", "--ramp", "0.3", "--seconds", "5", "--keep-fraction", check=1, env=env)
    step = int(re.search(r"RESOURCE_EXHAUSTED: Out of memory while trying to allocate (\d+) bytes", done.stderr)[1])
    assert 0 < step < 9 * GIB and "torch" not in done.stderr
    assert status(two_gpus)["gpus"][0]["peak_used_bytes"] <= total / 2
    task(two_gpus, "--vram", "4G", "--seconds", "0.1", "--keep-fraction", check=0, env=env)
    task(two_gpus, "--vram", "9G", "--seconds", "0.1", "--keep-fraction", check=0)  # it was granted all there is
    for wrong in ("", "x", "0", "1.5"):
        done = task(two_gpus, "--keep-fraction", check=2, env={"PLIMSOLL_VRAM_FRACTION": wrong})
        assert "PLIMSOLL_VRAM_FRACTION" in done.stderr


@pytest.mark.parametrize("visible, gpu", [("1", 1), ("1,0", 1), ("0,9", 0), (None, 0)])
def test_visible_devices_choose_the_gpu(two_gpus, visible, gpu):
    env = {"CUDA_VISIBLE_DEVICES": visible} if visible is not None else {}
    task(two_gpus, "--vram", "1G", "--seconds", "0", check=0, env=env)
    assert status(two_gpus)["gpus"][gpu]["tasks_started"] == 1


def test_a_uuid_or_its_prefix_chooses_the_gpu(two_gpus):
    uuid = status(two_gpus)["gpus"][1]["uuid"]
    for value in (uuid, uuid[:10]):
        task(two_gpus, "--vram", "1G", "--seconds", "0", check=0, env={"CUDA_VISIBLE_DEVICES": value})
    assert status(two_gpus)["gpus"][1]["tasks_started"] == 2


@pytest.mark.parametrize("visible", ["", "-1", "7", "GPU-nosuch", "0,0"])
def test_no_visible_device_is_no_device(two_gpus, visible):
    done = task(two_gpus, "--vram", "1G", check=1, env={"CUDA_VISIBLE_DEVICES": visible})
    assert "no CUDA-capable device is detected" in done.stderr


def test_on_the_cpu_when_told(two_gpus):
    for env, args in (({"PLIMSOLL_DEVICE": "cpu"}, ()), ({"CUDA_VISIBLE_DEVICES": ""}, ()), ({}, ("--device", "cpu"))):
        done = task(two_gpus, "--vram", "1G", "--cpu-seconds", "0.01", *args, check=0, env=env)
        assert "done on cpu" in done.stdout
    assert status(two_gpus)["gpus"][0]["tasks_started"] == 0


def test_without_a_simulation_there_is_no_driver(sandbox):
    assert "no NVIDIA driver" in task(sandbox, "--vram", "1G", check=1).stderr


def test_speed_and_contention_make_it_longer(simulated):
    box = simulated(gpus="fast:8G:1.0,slow:8G:0.5", time_scale=0.1)

    def seconds(*processes):
        return [float(re.search(r"done in ([\d.]+) s", p.communicate(timeout=60)[0])[1]) for p in processes]

    def start(gpu, util):
        return box.start(
            BUILD / "plimsoll-simtask", "--vram", "1G", "--seconds", "4", "--util", util, env={"CUDA_VISIBLE_DEVICES": gpu}
        )

    alone, slow = seconds(start("0", "60"), start("1", "60"))
    # A lower bound is exact; above it stands only how late a busy machine lets a process look.
    assert 4.0 <= alone < 6.0
    assert 8.0 <= slow < 11.0
    both = seconds(start("0", "100"), start("0", "100"))
    assert 6.5 <= max(both) < 11.0


def test_a_lost_gpu_ends_its_tasks_only(two_gpus):
    first = two_gpus.start(BUILD / "plimsoll-simtask", "--vram", "1G", "--seconds", "60")
    second = two_gpus.start(BUILD / "plimsoll-simtask", "--vram", "1G", "--seconds", "60", env={"CUDA_VISIBLE_DEVICES": "1"})
    wait_until(lambda: held(two_gpus, 0) and held(two_gpus, 1))
    sim(two_gpus, "inject", "gpu: 1, event: lost, xid: 79", check=0)
    assert second.wait(timeout=20) == 1
    assert "unspecified launch failure" in second.stderr.read()
    assert first.poll() is None
    sim(two_gpus, "inject", "gpu: 1, event: back", check=0)
    task(two_gpus, "--vram", "1G", "--seconds", "0", check=0, env={"CUDA_VISIBLE_DEVICES": "1"})


def test_a_foreign_process_is_a_real_one_and_takes_memory(two_gpus):
    sim(two_gpus, "inject", "gpu: 1, event: foreign, name: Xorg, kind: graphics, vram: 2G", check=0)
    holder = status(two_gpus)["gpus"][1]["processes"][0]
    assert holder["name"] == "Xorg" and holder["used_bytes"] == 2 * GIB
    # At once: it bears its name before anybody can see it hold memory.
    assert open(f"/proc/{holder['pid']}/comm", encoding="utf-8").read() == "Xorg\n"
    task(two_gpus, "--vram", "7G", "--seconds", "0", check=1, env={"CUDA_VISIBLE_DEVICES": "1"})
    os.kill(holder["pid"], signal.SIGKILL)
    wait_until(lambda: held(two_gpus, 1) == 0)


def test_a_timeline_happens_without_anybody_looking(simulated):
    box = simulated(
        scenario="gpus: [{model: rtx-3090}]\ntime_scale: 0.01\ntimeline:\n"
        "  - {at: 1s, gpu: 0, event: foreign, name: a, vram: 1G, ends_at: 3s}\n"
        "  - {at: 2s, gpu: 0, event: foreign, name: b, vram: 2G}\n"
    )
    last = wait_until(lambda: (s := status(box))["time_seconds"] > 4 and s)
    assert last["gpus"][0]["used_bytes"] == 2 * GIB
    assert last["gpus"][0]["peak_used_bytes"] == 3 * GIB, "both at once, though nobody asked then"
    assert 2.0 <= last["gpus"][0]["peak_at_seconds"] < 2.001


@pytest.mark.parametrize(
    "event, says",
    [("mismatch", "unsupported display driver"), ("no-driver", "Found no NVIDIA driver")],
)
def test_a_driver_that_went_bad_starts_no_task(two_gpus, event, says):
    sim(two_gpus, "inject", f"event: {event}", check=0)
    assert says in task(two_gpus, "--vram", "1G", check=1).stderr
    sim(two_gpus, "inject", "event: driver-ok", check=0)
    task(two_gpus, "--vram", "1G", "--seconds", "0", check=0)


def test_injected_nonsense_is_refused(two_gpus):
    for text, says in (("event: explode", "unknown event"), ("gpu: 9, event: lost", "no GPU 9"), ("event: slow", "delay")):
        done = sim(two_gpus, "inject", text, check=2)
        assert says in done.stderr
