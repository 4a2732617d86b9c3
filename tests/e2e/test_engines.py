"""Real containers on simulated GPUs: dockerd with docker-compose, podman with podman-compose and CDI."""

import os
import pathlib
import re
import signal

import pytest
from conftest import PATIENCE, SANITIZED, wait_until
from engines import Dockerd, Podman, cdi_in_use, forbidden, missing

# 24 GB beside 4 GB, the second one idle: the pair of story S1.
GPUS = "rtx-a5500,rtx-a400"
SIMTASK = "echo $$NVIDIA_VISIBLE_DEVICES >/tmp/gpu; CUDA_VISIBLE_DEVICES=$$NVIDIA_VISIBLE_DEVICES exec plimsoll-simtask --vram {vram} --seconds 10000 --util 1"


def docker_request(variable, default):
    return f"""
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              device_ids: ['${{{variable}:-{default}}}']
              capabilities: [gpu]
"""


def podman_request(variable, default):
    return f"""
    devices: ["nvidia.com/gpu=${{{variable}:-{default}}}"]
"""


def service(box, engine, name, vram, request, more=""):
    return f"""
  {name}:
    image: {engine.image_name}
    command: ["sh", "-c", "{SIMTASK.format(vram=vram)}"]
    {'network_mode: none' if engine.kind == 'docker' else ''}
    {'pid: host' if engine.kind == 'docker' else ''}
    stop_signal: SIGKILL
    environment:
      PLIMSOLL_SIM_STATE: {box.env['PLIMSOLL_SIM_STATE']}
      ASAN_OPTIONS: detect_leaks=0
    volumes: ["{pathlib.Path(box.env['PLIMSOLL_SIM_STATE']).parent}:{pathlib.Path(box.env['PLIMSOLL_SIM_STATE']).parent}"]
    x-plimsoll: {{vram: {vram}, ram: 1G}}
{request}{more}"""


class Project:
    """llm and clip on GPU 0, web behind clip: the plan moves clip to the idle GPU."""

    def __init__(self, box, engine):
        self.box, self.engine = box, engine
        self.dir = box.dir / "shop"
        self.dir.mkdir()
        request = docker_request if engine.kind == "docker" else podman_request
        self.request = request
        (self.dir / "docker-compose.yml").write_text(
            "version: '3.8'\nservices:"
            + service(box, engine, "llm", "18G", request("GPU_LLM", 0))
            + service(box, engine, "clip", "1200M", request("GPU_CLIP", 0))
            + f"""
  web:
    image: {engine.image_name}
    command: ["sleep", "10000"]
    {'network_mode: none' if engine.kind == 'docker' else ''}
    stop_signal: SIGKILL
    depends_on: [clip]
"""
        )
        (self.dir / ".env").write_text("# where each service is\nGPU_LLM=0\n# GPU_CLIP=1\n")
        # Our verbs see this engine, its programs, and the simulated GPUs.
        box.env.update(engine.settings)

    def up(self):
        self.said = self.engine.compose(self.dir, "up", "-d")
        self.wait_for({"shop/llm": [0], "shop/clip": [0]})

    def wait_for(self, places):
        seen = {}

        def there():
            seen.update(now=self.on_gpus())
            return seen["now"] == places

        try:
            wait_until(there, what=str(places))
        except pytest.fail.Exception as failure:
            logs = self.engine.containers()
            pytest.fail(f"{failure}, saw {seen['now']}\n{self.said.stdout}{self.said.stderr}\n{logs}")

    def on_gpus(self):
        """{"shop/clip": [0]}: who holds memory on which GPU."""
        found = {}
        for gpu in self.box.json("gpus")["gpus"]:
            for holder in gpu["holders"]:
                found.setdefault(holder["name"], []).append(gpu["index"])
        return found

    def ids(self):
        names = {service: f"shop_{service}_1" for service in ("llm", "clip", "web")}
        return {service: (self.engine.inspect(name) or {}).get("Id") for service, name in names.items()}

    def files(self):
        return {path.name: path.read_bytes() for path in self.dir.iterdir() if ".plimsoll-" not in path.name}

    def programs(self):
        """Pids of compose programs that work on this project."""
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"-compose" in command and str(self.dir).encode() in command:
                yield int(entry.name)

    def apply(self, *args, check=0):
        return self.box.plimsoll("apply", "--up", "--yes", *args, cwd=self.dir, check=check)


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request):
    if request.param == "docker":
        why = missing("dockerd", "docker", "docker-compose", "runc")
    else:
        why = missing("podman", "podman-compose", "runc")
        if not why and cdi_in_use():
            why = f"this machine has CDI specifications of its own: {', '.join(cdi_in_use())}"
    if forbidden():
        pytest.skip(forbidden())
    if why and os.environ.get("PLIMSOLL_ENGINES") == "required":
        pytest.fail(f"they are to run here: {why}")
    if why:
        pytest.skip(why)
    with (Dockerd if request.param == "docker" else Podman)() as engine:
        yield engine


@pytest.fixture
def project(engine, simulated, request):
    if SANITIZED and (engine.kind != "docker" or "moved" not in request.node.name):
        pytest.skip("a minute of waiting for containers: the plain build does it")
    yield Project(simulated(gpus=GPUS), engine)
    engine.remove_containers()


def test_a_service_is_moved(project):
    """The plan, from the files to the GPUs; what does not move is not touched, a second run finds nothing to do."""
    project.up()
    # Known by name, what runs is measured and found where it is, here and from an inventory made here.
    (project.box.dir / "i.json").write_text(project.box.plimsoll("gpus", "--json", check=0).stdout)
    for inventory in ([], ["--inventory", project.box.dir / "i.json"]):
        plan = project.box.json("plan", *inventory, cwd=project.dir)
        found = {a["service"]: ([g["index"] for g in a["today"]], a["measured_bytes"] >> 20) for a in plan["assignments"]}
        assert found == {"llm": ([0], 18 << 10), "clip": ([0], 1200)}
        assert [gpu["foreign_bytes"] for gpu in plan["gpus"]] == [0, 0]
        # RAM is measured where the containers are, and nowhere else.
        used = {s["service"]: s["ram_used_bytes"] for s in plan["host"]["services"]}
        assert set(used) == {"llm", "clip"} and all(bytes is None if inventory else 0 < bytes < 1 << 30 for bytes in used.values()), used
    before = project.ids()
    told = project.box.plimsoll("apply", "--dry-run", "--up", cwd=project.dir, check=0)
    assert "--up would make anew: clip, then web" in " ".join(told.stderr.split()) and project.ids() == before, told.stderr
    done = project.apply()
    assert "GPU_CLIP=1" in (project.dir / ".env").read_text()
    assert "verified" in done.stderr, done.stderr
    assert project.on_gpus() == {"shop/llm": [0], "shop/clip": [1]}
    after = project.ids()
    assert after["llm"] == before["llm"], "a service that stays was made anew"
    assert after["clip"] != before["clip"] and after["web"] != before["web"], "clip moves, and web depends on it"
    assert all(after.values())
    again = project.apply()
    assert "nothing to do" in again.stderr and "nothing to roll out" in again.stderr
    assert project.ids() == after
    # The daemon names services, too, without waiting for the engine on its loop.
    project.box.plimsoll("serve", "--background", check=0)
    assert project.on_gpus() == {"shop/llm": [0], "shop/clip": [1]}


def test_what_fails_is_put_back(project):
    """clip's health check passes on GPU 0 only: moved, it never does, and everything is as it was; what was stopped stays so."""
    text = (project.dir / "docker-compose.yml").read_text()
    check = '    healthcheck: {test: ["CMD-SHELL", "grep -qx 0 /tmp/gpu"], interval: 1s, retries: 30}\n'
    (project.dir / "docker-compose.yml").write_text(text.replace("\n  web:", f"\n{check}\n  web:"))
    project.up()
    stopped = project.engine.kind == "podman"
    if stopped:
        project.engine.run(project.engine.client, "stop", "-t", "0", "shop_web_1")
    before, files = project.ids(), project.files()
    done = project.apply("--health-timeout", "2s", check=3)
    assert re.search(r"clip: not up and healthy within 2", done.stderr), done.stderr
    assert "everything is as it was" in done.stderr, done.stderr
    assert project.files() == files, "not byte for byte what it was"
    project.wait_for({"shop/llm": [0], "shop/clip": [0]})
    after = project.ids()
    assert after["llm"] == before["llm"] and all(after.values())
    assert project.engine.inspect("shop_web_1")["State"]["Running"] == (not stopped)
    assert not (project.dir / ".plimsoll-apply").exists()


def begin(project):
    """An apply under way, at the point where clip is being made anew."""
    running = project.box.start_plimsoll("apply", "--up", "--yes", cwd=project.dir)
    for line in running.stderr:
        if line.startswith("making anew: clip"):
            return running
    pytest.fail("it ended before it began")


def test_what_is_interrupted(project):
    """Ctrl-C puts everything back; what kill -9 leaves is told by the next one, and finished."""
    project.up()
    before, files = project.ids(), project.files()
    running = begin(project)
    running.send_signal(signal.SIGINT)
    said = running.stderr.read()
    assert running.wait(timeout=2 * PATIENCE) == 130 and "put back" in said, said
    assert project.files() == files
    project.wait_for({"shop/llm": [0], "shop/clip": [0]})
    after = project.ids()
    assert after["llm"] == before["llm"] and all(after.values())

    running = begin(project)
    running.kill()
    running.wait()
    told = project.box.plimsoll("apply", "--dry-run", cwd=project.dir, check=0)
    assert "did not come to its end" in told.stderr and "clip" in told.stderr, told.stderr
    assert ".env.plimsoll-" in told.stderr, "the backup is not named"
    # docker-compose, in a process group of its own, is not ended with it.
    wait_until(lambda: not list(project.programs()), what="docker-compose to end")
    done = project.apply()
    assert "verified" in done.stderr and project.on_gpus() == {"shop/llm": [0], "shop/clip": [1]}
    assert all(project.ids().values()), f"not all that ran before runs again: {project.ids()}"
    assert project.engine.inspect("shop_web_1")["State"]["Running"]
    assert not (project.dir / ".plimsoll-apply").exists()


def test_an_image_that_cannot_be_had(project):
    """Before anything is touched: all containers run on, and nothing stands half-done."""
    project.up()
    before = project.ids()
    path = project.dir / "docker-compose.yml"
    head, tail = path.read_text().split("\n  clip:")
    path.write_text(f"{head}\n  clip:{tail.replace(project.engine.image_name, 'localhost/nosuch:9', 1)}")
    files = project.files()
    done = project.apply(check=3)
    told = " ".join(done.stderr.split())
    assert "clip: its image localhost/nosuch:9 is not here" in told and "everything is as it was before" in told, told
    assert project.ids() == before and project.files() == files
