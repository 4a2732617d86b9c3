"""docs/configuration.md: its samples are read as they stand there, and a default above every GPU is no trap."""

import pathlib
import re

import pytest

from conftest import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "configuration.md").read_text()
SAMPLES = re.findall(r"^```yaml\n(.*?)^```$", DOCS, re.M | re.S)


def configured(sandbox, text):
    folder = sandbox.dir / "config" / "plimsoll"
    folder.mkdir()
    (folder / "plimsoll.yaml").write_text(text)
    sandbox.simulate(gpus="small:8G:0.4,any:24G:1.0")
    return sandbox


def kinds():
    return re.findall(r"`([a-z-]+)`:", re.search(r"^\| `kind` \|(.*)$", DOCS, re.M).group(1)) + ["part-first"]


@pytest.mark.parametrize("with_kinds", [False, True])
def test_the_sample_is_read(sandbox, with_kinds):
    text = next(sample for sample in SAMPLES if "prove:" in sample)
    if with_kinds:
        assert {"probe", "total", "used", "part"} < set(kinds()), kinds()
        more = "".join(f'    - {{id: own-{kind}, kind: {kind}, text: "abc {{size}}"}}\n' for kind in kinds())
        text = text.replace("  patterns:\n", "  patterns:\n" + more)
    box = configured(sandbox, text)
    box.plimsoll("submit", "--hold", "--vram", "1G", "--", "true", check=0)


def test_a_default_above_every_gpu(sandbox):
    box = configured(sandbox, "queue: {vram_default: 30GiB}\n")
    refused = box.plimsoll("submit", "--vram-default", "30G", "--", "true", check=2)
    assert "asks for 30 GiB of VRAM; the largest load line" in refused.stderr, refused.stderr
    task = box.plimsoll("submit", "--", "true", check=0).stdout.strip()
    wait_until(lambda: box.json("show", task)["state"] == "done")
    said = (pathlib.Path(box.env["XDG_STATE_HOME"]) / "plimsoll" / "daemon.log").read_text()
    assert "`vram_default` of `queue` is 30 GiB; no GPU has a load line above" in said, said
