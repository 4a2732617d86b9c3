"""Real containers on simulated GPUs: dockerd with docker-compose, podman with podman-compose and CDI."""

import json
import pathlib
import re

import pytest
from conftest import BUILD, PATIENCE, SANITIZED, wait_until
from engines import Dockerd, Podman, cdi_in_use, missing

# 24 GB beside 4 GB, the second one idle: the pair of story S1.
GPUS = "rtx-a5500,rtx-a400"
SIMTASK = "CUDA_VISIBLE_DEVICES=$$NVIDIA_VISIBLE_DEVICES exec plimsoll-simtask --vram {vram} --seconds 10000 --util 1"


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
    x-plimsoll: {{vram: {vram}}}
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
        box.env["PATH"] = f"{engine.bin}:{box.env['PATH']}"
        box.env["DOCKER_HOST"] = f"unix://{engine.socket}"
        if "CONTAINERS_CONF" in engine.env:
            box.env["CONTAINERS_CONF"] = engine.env["CONTAINERS_CONF"]

    def up(self):
        self.engine.compose(self.dir, "up", "-d")
        wait_until(lambda: self.on_gpus() == {"shop/llm": [0], "shop/clip": [0]}, what="both on GPU 0")

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

    def apply(self, *args, check=0):
        return self.box.plimsoll("apply", "--up", "--yes", *args, cwd=self.dir, check=check)


@pytest.fixture(params=["docker", "podman"])
def project(request, simulated):
    if request.param == "docker":
        why = missing("dockerd", "docker", "docker-compose", "runc")
    else:
        why = missing("podman", "podman-compose", "runc")
        if not why and cdi_in_use():
            why = f"this machine has CDI specifications of its own: {', '.join(cdi_in_use())}"
    if why:
        pytest.skip(why)
    box = simulated(gpus=GPUS)
    with (Dockerd if request.param == "docker" else Podman)(box.dir, box.env) as engine:
        yield Project(box, engine)


def test_services_are_shown_by_name(project):
    project.up()
