"""Unmodified NVML clients on the simulated GPUs: what they show is what the state says, a task's VRAM live.

The clients come from tests/tools/get-clients.sh (Debian's contrib, unpacked into .cache/clients, nothing installed).
"""

import fcntl
import json
import os
import pty
import re
import select
import socket
import struct
import subprocess
import termios
import time


import pytest

from conftest import BUILD, PATIENCE, ROOT, SANITIZED, wait_until

CLIENTS = ROOT / ".cache" / "clients"
UNPACKED = CLIENTS / "root"
LIBRARIES = [UNPACKED / "usr/lib/x86_64-linux-gnu/slurm-wlm", UNPACKED / "usr/lib/x86_64-linux-gnu", UNPACKED / "lib/x86_64-linux-gnu"]
GIB = 1 << 30

pytestmark = pytest.mark.skipif(
    SANITIZED, reason="a library under ASan cannot be loaded into a program without; the ordinary build is tested"
)


@pytest.fixture(scope="session")
def clients():
    """Fetched once; a test whose client is not there then says so."""
    if not any((CLIENTS / "deb").glob("nvtop_*")) or not (CLIENTS / "nvitop/nvitop").is_dir():
        try:
            subprocess.run([ROOT / "tests/tools/get-clients.sh"], timeout=180, check=False, capture_output=True)
        except (OSError, subprocess.TimeoutExpired):
            pass
    return CLIENTS


@pytest.fixture
def busy(simulated):
    """An RTX A5500 with a task of 2.5 GiB at 40 %, and an idle RTX A400."""
    box = simulated(gpus="rtx-a5500,rtx-a400")
    box.task = box.start(BUILD / "plimsoll-simtask", "--vram", "2.5G", "--seconds", "600", "--util", "40")

    def ready():
        state = json.loads(box.run(BUILD / "plimsoll-sim", "status", "--json", check=0).stdout)
        return state["gpus"][0]["used_bytes"] == 2.5 * GIB and state["gpus"][0]["utilization_percent"] == 40

    wait_until(ready)
    return box


def client_env(box, python=()):
    """What an unpacked client needs to find its own libraries, after the simulated one."""
    return {
        "LD_LIBRARY_PATH": ":".join([box.env["LD_LIBRARY_PATH"], *map(str, LIBRARIES)]),
        "PYTHONPATH": ":".join(map(str, python)),
    }


def need(path, what):
    if not path.exists():
        why = CLIENTS / f"{what}.why"
        pytest.skip(f"no {what}: {why.read_text().strip() if why.exists() else 'see tests/tools/get-clients.sh'}")
    return path


DEBIAN_PYTHON = UNPACKED / "usr/lib/python3/dist-packages"


def test_gpustat(busy, clients):
    program = need(UNPACKED / "usr/bin/gpustat", "gpustat")
    done = busy.run("/usr/bin/python3", program, "--json", check=0, env=client_env(busy, [DEBIAN_PYTHON]))
    first, second = json.loads(done.stdout)["gpus"]
    assert first["name"] == "NVIDIA RTX A5500" and second["name"] == "NVIDIA RTX A400"
    assert first["memory.total"] == 24564 and second["memory.total"] == 4094
    # Its pynvml asks by the first memory call, which counts the reserved part as used.
    assert first["memory.used"] == 2560 + 310 and second["memory.used"] == 51
    assert first["utilization.gpu"] == 40 and first["enforced.power.limit"] == 230
    (process,) = first["processes"]
    assert process["pid"] == busy.task.pid and process["gpu_memory_usage"] == 2560
    assert process["command"] == "plimsoll-simtask"


def test_gpustat_after_the_task(busy, clients):
    program = need(UNPACKED / "usr/bin/gpustat", "gpustat")
    busy.task.kill()
    busy.task.wait()
    done = busy.run("/usr/bin/python3", program, "--json", check=0, env=client_env(busy, [DEBIAN_PYTHON]))
    first = json.loads(done.stdout)["gpus"][0]
    assert first["memory.used"] == 310 and first["processes"] == [] and first["utilization.gpu"] == 0


def test_pynvml(busy, clients):
    need(DEBIAN_PYTHON / "pynvml.py", "python3-pynvml")
    script = """
import json, pynvml as n
n.nvmlInit()
d = n.nvmlDeviceGetHandleByIndex(0)
try:
    n.nvmlDeviceGetFanSpeed(n.nvmlDeviceGetHandleByIndex(2)); bad = None
except n.NVMLError as e:
    bad = str(e)
u, m, v = n.nvmlDeviceGetUtilizationRates(d), n.nvmlDeviceGetMemoryInfo(d), n.nvmlDeviceGetMemoryInfo(d, version=n.nvmlMemory_v2)
p = n.nvmlDeviceGetComputeRunningProcesses(d)
text = lambda b: b.decode() if isinstance(b, bytes) else b
print(json.dumps({"count": n.nvmlDeviceGetCount(), "driver": text(n.nvmlSystemGetDriverVersion()), "name": text(n.nvmlDeviceGetName(d)),
    "v1": [m.total, m.free, m.used], "v2": [v.total, v.reserved, v.free, v.used], "util": u.gpu, "bad": bad,
    "processes": [[x.pid, x.usedGpuMemory] for x in p], "cc": n.nvmlDeviceGetCudaComputeCapability(d),
    "bus": text(n.nvmlDeviceGetPciInfo(d).busId)}))
n.nvmlShutdown()"""
    done = busy.run("/usr/bin/python3", "-c", script, check=0, env=client_env(busy, [DEBIAN_PYTHON]))
    seen = json.loads(done.stdout)
    assert seen["count"] == 2 and seen["driver"] == "550.163.01" and seen["name"] == "NVIDIA RTX A5500"
    total, free, used = seen["v1"]
    assert used + free == total == 24564 << 20 and used == (2560 + 310) << 20
    assert seen["v2"] == [total, 310 << 20, free, 2560 << 20]
    assert seen["processes"] == [[busy.task.pid, 2560 << 20]]
    assert seen["util"] == 40 and seen["cc"] == [8, 6] and seen["bus"] == "00000000:01:00.0"
    assert seen["bad"] == "Invalid Argument"


def test_nvitop(busy, clients):
    need(CLIENTS / "nvitop" / "nvitop", "nvitop")
    env = client_env(busy, [CLIENTS / "nvitop", DEBIAN_PYTHON])
    done = busy.run("/usr/bin/python3", "-m", "nvitop", "-1", check=0, env=env)
    assert re.search(r"RTX A5500 ", done.stdout) and re.search(r"RTX A400 ", done.stdout)
    assert re.search(r"2560MiB / 23\.99GiB .*40%", done.stdout)
    assert re.search(rf"0 +{busy.task.pid} C +\S+ +2560MiB +40 ", done.stdout)


def run_on_a_terminal(box, argv, env, until, columns=150, rows=40):
    """What a full-screen program has written when until(text) holds; then it is ended."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(box.dir)
        os.execve(argv[0], argv, {**box.env, **env, "TERM": "xterm"})
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    text, deadline = "", time.monotonic() + PATIENCE
    try:
        while not until(text) and time.monotonic() < deadline:
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    text += os.read(fd, 65536).decode(errors="replace")
                except OSError:
                    break
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(fd)
    return text


def test_nvtop(busy, clients):
    program = need(UNPACKED / "usr/bin/nvtop", "nvtop")

    def plain(text):
        # Movements become blanks, colours nothing: words of a line stay words.
        return re.sub(r"\x1b\[[0-9;]*m", "", re.sub(r"\x1b\[[0-9;]*[A-HJKXdG]|\x1b\(B|\x1b[=>]", " ", text))

    def shows_it(text):
        return re.search(rf"{busy.task.pid} .*Compute.*2560MiB", plain(text)) is not None

    text = plain(run_on_a_terminal(busy, [str(program)], client_env(busy), shows_it))
    assert re.search(rf"{busy.task.pid} .*Compute +40% +2560MiB", text), text[-2000:]
    assert "RTX A5500" in text and "RTX A400" in text


def test_slurmd_detects_the_gpus(busy, clients):
    """`slurmd -G` with Slurm's own NVML plugin prints the GRES it found."""
    slurmd = need(UNPACKED / "usr/sbin/slurmd", "slurmd")
    need(CLIENTS / "slurm" / "gpu_nvml.so", "slurm-wlm-nvml-plugin")
    host = socket.gethostname().split(".")[0]
    etc = busy.dir / "slurm"
    (etc / "spool").mkdir(parents=True)
    (etc / "slurm.conf").write_text(SLURM_CONF.format(host=host, etc=etc, plugins=CLIENTS / "slurm"))
    (etc / "gres.conf").write_text("AutoDetect=nvml\n")
    (etc / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    done = busy.run(slurmd, "-G", "-N", "nodeA", env={**client_env(busy), "SLURM_CONF": str(etc / "slurm.conf")})
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "nvidia_rtx_a5500" in said and "nvidia_rtx_a400" in said


SLURM_CONF = """
ClusterName=plimsoll
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={etc}
SlurmdSpoolDir={etc}/spool
SlurmdPidFile={etc}/slurmd.pid
PluginDir={plugins}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=nodeA NodeHostname={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=8000 Gres=gpu:nvidia_rtx_a5500:1,gpu:nvidia_rtx_a400:1
PartitionName=main Nodes=ALL Default=YES
"""
