"""What holds a task to what it was granted: in its cgroup, by its environment; and what it says of it.

Where the memory controller is handed down (a cgroup v2 that has it and is ours) a task really is ended at its limit;
elsewhere that part is skipped. dmem and MPS are tried on recorded trees (tests/unit/run_bound.c, daemon_guards.c).
"""

import os
import signal
import subprocess

import pytest
from api_link import Daemon
from conftest import BUILD, wait_until
from test_supervisor_cgroup import can_make_cgroups, own_cgroup

MIB = 1 << 20


@pytest.fixture
def leaf():
    """A cgroup of the test's own, with the leaf that systemd's DelegateSubgroup= makes. The leaf's path."""
    if not can_make_cgroups():
        pytest.skip("needs a cgroup v2 of its own")
    base = own_cgroup() / f"test-{os.getpid()}"
    (base / "plimsoll.leaf").mkdir(parents=True)
    yield base / "plimsoll.leaf"

    def gone():
        for folder, _, _ in os.walk(base, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass
        return not base.exists()

    wait_until(gone, what="the test's cgroup to be empty")


@pytest.fixture
def inside(leaf, sandbox):
    """A sandbox whose daemon is in the leaf."""
    sandbox.simulate(gpus="small:8G:0.4")
    Daemon(sandbox, preexec_fn=lambda: (leaf / "cgroup.procs").write_text(str(os.getpid())))
    yield sandbox
    for pid in (leaf / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGTERM)


def attempts_cgroup(sandbox, task):
    wait_until(lambda: sandbox.json("show", task)["state"] == "running", what=f"task {task} to run")
    return next(leaf for leaf in own_cgroup().glob(f"test-{os.getpid()}/plimsoll.*/task-{task}.1"))


def test_tasks_are_beside_the_leaf(inside, leaf):
    task = inside.plimsoll("submit", "--vram", "1G", "--", "sleep", "60", check=0).stdout.strip()
    where = attempts_cgroup(inside, task)
    assert where.parent.parent == leaf.parent and len((where / "cgroup.procs").read_text().split()) == 1
    inside.plimsoll("cancel", task, check=0)
    assert inside.json("show", task)["attempts"][0]["limits"] is None  # no dmem here, and no RAM was granted


def test_ram_is_held_to_its_grant(inside, leaf):
    if "memory" not in (leaf.parent / "cgroup.controllers").read_text().split():
        pytest.skip("the memory controller is not handed down here")
    task = inside.plimsoll(
        "submit", "--cpu", "only", "--ram", "256M", "--", BUILD / "plimsoll-simtask", "--device", "cpu", "--ram", "2G", "--cpu-seconds", "5",
        check=0,
    ).stdout.strip()  # fmt: skip
    inside.plimsoll("wait", task)
    attempt = inside.json("show", task)["attempts"][0]
    assert attempt["limits"] == "RAM: cgroup memory.max" and attempt["outcome"] == "host-oom", attempt
    assert attempt["peak_ram_bytes"] <= 512 * MIB


def test_hami_is_loaded_where_it_is_wanted(sandbox):
    library = sandbox.dir / "libvgpu.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=b"int plimsoll_nothing;", check=True)
    config = sandbox.dir / "config" / "plimsoll"
    config.mkdir()
    (config / "plimsoll.yaml").write_text(f"limits: {{hami: {library}, torch: true}}\n")
    sandbox.env["ASAN_OPTIONS"] += ":verify_asan_link_order=0"  # the library comes before a sanitizer's, too
    sandbox.simulate(gpus="small:8G:0.4")
    sandbox.plimsoll("serve", "--background", check=0)
    assert sandbox.json("gpus")["limits"]["vram"] == ["HAMi-core", "watched"]
    assert "\nlimits: VRAM HAMi-core, watched | RAM " in sandbox.plimsoll("gpus", check=0).stdout
    told = "echo $LD_PRELOAD $CUDA_DEVICE_MEMORY_LIMIT_0 $PYTORCH_ALLOC_CONF $XLA_PYTHON_CLIENT_MEM_FRACTION"
    held = sandbox.plimsoll("submit", "--vram", "2G", "--", "sh", "-c", told, check=0).stdout.strip()
    warned = sandbox.plimsoll("submit", "--vram", "2G", "--on-overrun", "warn", "--", "sh", "-c", told, check=0).stdout.strip()
    # What may be out of memory or may not is, for who was at the end of a grant that something holds it to, and only for him.
    full = ("--on-oom", "fail", "--", "plimsoll-simtask", "--vram", "2G", "--seconds", "1.5", "--exit", "1", "--print", "CUDNN_STATUS_NOT_INITIALIZED")
    outcomes = {how: sandbox.plimsoll("submit", "--vram", "2G", "--on-overrun", how, *full, check=0).stdout.strip() for how in ("stop", "warn")}
    for how, outcome in (("stop", "oom"), ("warn", "error")):
        sandbox.plimsoll("wait", outcomes[how])
        assert sandbox.json("show", outcomes[how])["attempts"][0]["outcome"] == outcome, how
    for task in (held, warned):
        sandbox.plimsoll("wait", task, check=0)
    words = sandbox.plimsoll("logs", held, check=0).stdout.split()
    assert words[0].startswith(str(library)) and words[1:] == ["2048m", "per_process_memory_fraction:0.2500", "0.2500"]
    assert sandbox.json("show", held)["attempts"][0]["limits"] == "HAMi-core"
    assert "2 GiB of VRAM: said (HAMi-core)" in sandbox.plimsoll("show", held, check=0).stdout
    # Who wants to be warned only is not stopped by a library either.
    assert str(library) not in sandbox.plimsoll("logs", warned, check=0).stdout
    assert "(watched)" in sandbox.plimsoll("show", warned, check=0).stdout
