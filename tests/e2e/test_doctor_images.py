"""`doctor --images`: base images of Dockerfiles and compose files against a recorded machine."""

import json
import subprocess

import pytest

from conftest import BUILD, ROOT

WORKSTATION = (ROOT / "tests/roots/workstation.txt").read_text()


@pytest.fixture
def machine(tmp_path):
    def write(gpu="NVIDIA GeForce RTX 4090", capability="8.9", driver="550.135", cuda=12040, ctk="1.17.8"):
        text = WORKSTATION.replace("570.133.20", driver).replace("NVIDIA RTX A5000", gpu)
        text = text.replace('"8.6"', f'"{capability}"').replace("12080", str(cuda)).replace("1.17.8", ctk)
        path = tmp_path / "machine.txt"
        path.write_text(text)
        return path
    return write


@pytest.fixture
def images(tmp_path):
    def run(root, *words, code=None):
        done = subprocess.run([BUILD / "plimsoll", "doctor", "--images", "--root", root, *words],
                              capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done
    return run


def judged(images, tmp_path, root, ref):
    (tmp_path / "Dockerfile").write_text(f"FROM {ref}\n")
    done = images(root, "--json", "Dockerfile")
    one = json.loads(done.stdout)["images"][0]
    assert done.returncode == (one["status"] == "fail")
    assert (one["status"] in ("warn", "fail")) == bool(one["cause"] and one["fix"]), one
    return one["status"], " ".join([*one["evidence"], one["cause"] or "", *one["fix"]])


@pytest.mark.parametrize("facts, ref, status, words", [
    ({}, "nvidia/cuda:12.4.1-base-ubuntu22.04", "ok", "12.4.1"),
    ({}, "nvidia/cuda:12.8.1-base-ubuntu22.04", "fail", "NVIDIA_DISABLE_REQUIRE"),
    ({"gpu": "NVIDIA RTX A5000", "capability": "8.6"}, "nvidia/cuda:12.8.1-base-ubuntu22.04", "ok", "minor-version"),
    ({"ctk": "1.18.0"}, "nvidia/cuda:12.8.1-base-ubuntu22.04", "warn", "NVIDIA_DISABLE_REQUIRE"),
    ({}, "nvidia/cuda:13.0.2-base-ubuntu22.04", "fail", "needs driver 580"),
    ({"gpu": "NVIDIA H100 80GB HBM3", "capability": "9.0"}, "nvidia/cuda:13.0.2-base-ubuntu22.04", "warn", "cuda-compat"),
    ({}, "docker.io/nvidia/cuda:12.4.0-base-ubuntu22.04", "warn", "|:12.4.0|:12.4.1|"),
    ({}, "nvidia/cuda:10.2-base", "warn", "end of life"),
    ({}, "nvidia/cuda:12.4.1-base-ubuntu24.04", "fail", "not made for ubuntu24.04"),
    ({}, "nvidia/cuda", "fail", "no tag latest"),
    ({}, "nvidia/cuda:latest", "fail", "no tag latest"),
    ({}, "pytorch/pytorch", "warn", "latest"),
    ({}, "nvcr.io/nvidia/pytorch:24.05-py3", "unknown", "does not tell"),
    ({}, "localhost:5000/mine/app:1.2-cu124", "ok", "12.4"),
    ({}, "ubuntu:22.04", "skipped", "no CUDA"),
    ({"gpu": "NVIDIA GeForce RTX 5090", "capability": "12.0", "driver": "580.95.05", "cuda": 13000},
     "pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime", "fail", "no code for compute capability 12.0"),
    ({"gpu": "NVIDIA GeForce RTX 5090", "capability": "12.0", "driver": "580.95.05", "cuda": 13000},
     "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime", "ok", "12.8"),
    ({"gpu": "NVIDIA GeForce GTX 1080 Ti", "capability": "6.1", "driver": "580.95.05", "cuda": 13000},
     "nvidia/cuda:13.0.2-base-ubuntu22.04", "fail", "no code for Pascal"),
    ({"gpu": "NVIDIA GeForce GTX 1080 Ti", "capability": "6.1", "driver": "580.95.05", "cuda": 13000},
     "nvidia/cuda:12.9.1-base-ubuntu22.04", "ok", "12.9.1"),
])
def test_an_image_is_judged(images, machine, tmp_path, facts, ref, status, words):
    said = judged(images, tmp_path, machine(**facts), ref)
    assert said[0] == status and words in said[1], said


def test_a_folder_is_searched(images, machine, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app/Dockerfile").write_text(
        "# app\nARG CUDA=12.8.0\nFROM nvidia/cuda:${CUDA}-devel-ubuntu22.04 AS build\nFROM build\nFROM scratch\n")
    (tmp_path / "Dockerfile.dev").write_text("FROM nvidia/cuda:13.0.2-base-ubuntu24.04\n")
    (tmp_path / "compose.yaml").write_text(
        "services:\n  app:\n    build:\n      context: app\n      args:\n        CUDA: 12.4.1\n"
        "  store:\n    image: redis:7\n  llm:\n    image: nvidia/cuda:${VERSION:-11.8.0}-base-ubuntu22.04\n")
    done = images(machine(), "--json", code=1)
    found = {(one["file"], one["line"], one["image"], one["service"], one["status"])
             for one in json.loads(done.stdout)["images"]}
    assert found == {
        ("app/Dockerfile", 3, "nvidia/cuda:12.4.1-devel-ubuntu22.04", None, "ok"),
        ("Dockerfile.dev", 1, "nvidia/cuda:13.0.2-base-ubuntu24.04", None, "fail"),
        ("compose.yaml", 8, "redis:7", "store", "skipped"),
        ("compose.yaml", 10, "nvidia/cuda:11.8.0-base-ubuntu22.04", "llm", "ok"),
    }
    told = images(machine(), code=1).stdout
    assert "Dockerfile.dev:1: nvidia/cuda:13.0.2-base-ubuntu24.04" in told and "redis" not in told
    assert "redis" in images(machine(), "-v", code=1).stdout


def test_what_cannot_be_read_is_said(images, machine, tmp_path):
    (tmp_path / "Dockerfile").write_text("RUN true\nFROM --platform=linux/amd64\n")
    assert "Dockerfile:2" in images(machine(), "Dockerfile", code=3).stderr
    (tmp_path / "Dockerfile").unlink()
    assert "no image" in images(machine(), code=2).stderr
    done = subprocess.run([BUILD / "plimsoll", "doctor", "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "--images" in done.stderr
