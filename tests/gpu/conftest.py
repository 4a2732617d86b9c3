"""Tests on the GPUs of this machine. Without a GPU they are skipped and say why."""

import pytest
from real_gpu import make_sandbox, sample


@pytest.fixture
def box():
    box = make_sandbox()
    yield box
    box.close()


@pytest.fixture
def real(box):
    """A sandbox on a machine with at least one healthy NVIDIA GPU."""
    found = sample(box)
    if not any(gpu["health"] == "ok" for gpu in found["gpus"]):
        pytest.skip(f"no usable NVIDIA GPU here ({found['state']})")
    return box


@pytest.fixture
def gpu(real):
    """The healthy GPU with the most free VRAM that NVML can tell."""
    known = [g for g in sample(real)["gpus"] if g["health"] == "ok" and g["vram"]["free_bytes"]]
    if not known:
        pytest.skip("no GPU here whose memory NVML reports (unified memory)")
    return max(known, key=lambda g: g["vram"]["free_bytes"])
