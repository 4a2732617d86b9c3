"""The pages tell the truth: every block marked ```sh run is run, in order, on the two simulated GPUs of story S2."""

import re
import shutil

import pytest

from conftest import ROOT

BLOCK = re.compile(r"^```sh run\n(.*?)^```$", re.M | re.S)
PAGES = sorted(path for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")] if BLOCK.search(path.read_text()))


def test_there_are_pages_with_commands():
    assert PAGES, "no page has a ```sh run block: did the mark change?"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_commands_do_what_it_says(page, simulated):
    box = simulated(gpus="rtx-5070-ti,rtx-2080-super", time_scale=0.1)
    shutil.copytree(ROOT / "examples", box.dir / "examples")
    # Sanitized binaries and machines with one slow core may take ten times as long as the pages say.
    for number, block in enumerate(BLOCK.findall(page.read_text()), 1):
        done = box.run("sh", "-euc", block, timeout=300)
        assert done.returncode == 0, f"{page.name}, block {number}:\n{block}\n{done.stdout}\n{done.stderr}"


def test_every_environment_variable_of_a_task_is_described():
    """What the README lists is what a task sees; a name added to one must be added to the other."""
    told = set(re.findall(r"`(PLIMSOLL_[A-Z_]+)`", (ROOT / "README.md").read_text()))
    sources = "".join(path.read_text() for path in (ROOT / "src/daemon").glob("*.c"))
    given = set(re.findall(r'"(PLIMSOLL_(?:TASK_ID|ATTEMPT|DEVICE|GPU_INDEX|GPU_UUID|VRAM_[A-Z_]+|BATCH_SIZE))', sources))
    assert given and given <= told, given - told
