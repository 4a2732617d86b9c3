"""What the tests on real GPUs share: the sandbox of the black-box tests, and a sample."""

import importlib.util
import json
import os
import pathlib

_spec = importlib.util.spec_from_file_location(
    "black_box", pathlib.Path(__file__).resolve().parent.parent / "e2e" / "conftest.py"
)
black_box = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(black_box)
BUILD, wait_until = black_box.BUILD, black_box.wait_until
# Where containers and clusters put the driver's libraries.
KEPT = ("LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES")


def make_sandbox():
    box = black_box.Sandbox()
    box.env.update({name: os.environ[name] for name in KEPT if name in os.environ})
    return box


def sample(box):
    return json.loads(box.run(BUILD / "plimsoll-nvml", "--once", check=0).stdout)
