"""plimsoll apply, the files alone: S1's own as the story has it, twice; what it refuses; what it never does."""

import json
import os
import shutil
import subprocess

import pytest
from conftest import BUILD, ROOT

ENV = """\
GPU_AI_SERVICES=1
GPU_YOLO26=1     # 666 MiB on the RTX A400
GPU_CLIP=1       # 1.2 GiB on the RTX A400
GPU_ENRICHMENT=0 # 6 GiB on demand on the RTX A5500
"""


class Project:
    def __init__(self, box):
        self.box, self.dir = box, box.dir / "nem-3900"
        shutil.copytree(ROOT / "examples/nem-3900", self.dir)
        # No engine of this machine has a say.
        box.env["DOCKER_HOST"] = f"unix://{box.dir}/none.sock"

    def apply(self, *args, check=0, **options):
        return self.box.plimsoll("apply", "--inventory", "inventory.json", *args, cwd=self.dir, check=check, **options)

    def files(self):
        return {path.name: path.read_bytes() for path in self.dir.iterdir()}


@pytest.fixture
def nem(sandbox):
    return Project(sandbox)


def test_the_story(nem):
    """Nothing fits as it is; with the heavy enrichment on demand .env and the wrong default are as the write-up has them."""
    before = nem.files()
    refused = nem.apply("--yes", check=1)
    assert "not everything fits" in refused.stderr and "28.51 GiB" in refused.stderr and refused.stdout == ""
    assert nem.files() == before

    done = nem.apply("--yes", "--way-out", 1)
    after = nem.files()
    assert after[".env"].decode().endswith(ENV), after[".env"].decode()
    assert b"device_ids: ['${GPU_ENRICHMENT:-0}']" in after["compose.yaml"]
    # One line of compose.yaml and three of .env; the rest byte for byte.
    for name, lines in (("compose.yaml", 1), (".env", 3)):
        old, new = before[name].splitlines(keepends=True), after[name].splitlines(keepends=True)
        assert len(old) == len(new) and sum(a != b for a, b in zip(old, new)) == lines
    # What was there before stays beside it.
    backups = {name.split(".plimsoll-")[0]: content for name, content in after.items() if ".plimsoll-" in name}
    assert backups == {".env": before[".env"], "compose.yaml": before["compose.yaml"]}
    assert not (nem.dir / ".plimsoll-apply").exists()
    assert "left to you: ai-enrichment has to load on demand" in done.stderr

    again = nem.apply("--yes", "--way-out", 1)
    assert "nothing to do" in again.stderr and again.stdout == ""
    assert nem.files() == after


def test_the_diff_is_a_patch(nem):
    before = nem.files()
    shown = nem.apply("--dry-run", "--way-out", 1).stdout
    assert nem.files() == before
    subprocess.run(["patch", "-p1", "--quiet"], input=shown, text=True, cwd=nem.dir, check=True)
    patched = {name: nem.files()[name] for name in (".env", "compose.yaml")}
    for name, content in before.items():
        (nem.dir / name).write_bytes(content)
    nem.apply("--yes", "--way-out", 1)
    assert {name: nem.files()[name] for name in patched} == patched


def test_it_asks(nem):
    before = nem.files()
    unasked = nem.apply("--way-out", 1, check=2)
    assert "--yes" in unasked.stderr
    # On a terminal: anything but y is no.
    for answer, code in (("\n", 1), ("n\n", 1), ("y\n", 0)):
        leader, follower = os.openpty()
        asked = subprocess.Popen(
            [BUILD / "plimsoll", "apply", "--inventory", "inventory.json", "--way-out", "1"], cwd=nem.dir, env=nem.box.env,
            stdin=follower, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        os.close(follower)
        os.write(leader, answer.encode())
        said = asked.communicate(timeout=60)[1]
        os.close(leader)
        assert "Write this? [y/N]" in said and asked.returncode == code, said
        assert (nem.files() == before) == (code == 1)


def test_as_json(nem):
    told = json.loads(nem.apply("--json", "--dry-run", "--way-out", 1).stdout)
    assert told["changed"] and not told["written"] and told["rollout"] is None
    assert [file["file"] for file in told["files"]] == [".env", "compose.yaml"]
    assert told["diff"].startswith("--- a/.env\n") and not told["plan"]["feasible"]
    told = json.loads(nem.apply("--json", "--yes", "--way-out", 1).stdout)
    assert told["written"] and all(file["backup"] for file in told["files"])
    told = json.loads(nem.apply("--json", "--yes", "--way-out", 1).stdout)
    assert not told["changed"] and told["diff"] == "" and told["files"] == []


def test_uuids(nem):
    nem.apply("--yes", "--way-out", 1, "--ids", "uuid")
    gpus = {gpu["index"]: gpu["uuid"] for gpu in json.loads((nem.dir / "inventory.json").read_text())["gpus"]}
    text = (nem.dir / ".env").read_text()
    assert f"GPU_CLIP={gpus[1]}" in text and f"GPU_ENRICHMENT={gpus[0]}" in text
    again = nem.apply("--yes", "--way-out", 1, "--ids", "uuid")
    assert "nothing to do" in again.stderr


@pytest.mark.parametrize(
    "args, code, told",
    [
        (["--up"], 2, "--up is for this machine"),
        (["--way-out", "99"], 2, "--way-out"),
        (["--way-out", "8"], 2, "ways out"),
        (["--health-timeout", "5s", "--way-out", "1"], 2, "--health-timeout goes with --up"),
        (["--ids", "name"], 2, "--ids"),
        (["-f", "gone.yaml"], 2, "gone.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage(nem, args, code, told):
    before = nem.files()
    assert told in nem.apply("--yes", *args, check=code).stderr
    assert nem.files() == before


def test_up_without_an_engine(simulated, nem):
    simulated(gpus="rtx-a5500,rtx-a400")
    before = nem.files()
    done = nem.box.plimsoll("apply", "--up", "--yes", "--way-out", "1", cwd=nem.dir, check=3)
    assert "no container engine" in done.stderr or "needs a container engine" in done.stderr
    assert nem.files() == before


def test_the_shell_in_the_way(nem):
    """A variable of the shell wins over every file: nothing is written that would do nothing."""
    before = nem.files()
    done = nem.apply("--yes", "--way-out", 1, check=3, env={"GPU_CLIP": "0"})
    assert "GPU_CLIP" in done.stderr and "shell" in done.stderr
    assert nem.files() == before


def test_an_apply_that_was_killed_is_told_of(nem):
    """Its journal names what it was doing; one that still runs is not disturbed."""
    journal = nem.dir / ".plimsoll-apply"
    told = {
        "version": 1, "pid": 2**22 + 1, "pid_start_time": 1, "started_at": "2026-11-21T10:00:00.000Z",
        "services": ["ai-clip"], "files": [{"file": "/x/.env", "backup": "/x/.env.plimsoll-1"}],
    }
    journal.write_text(json.dumps(told))
    done = nem.apply("--dry-run", "--way-out", 1)
    for words in ("did not come to its end", "/x/.env", "/x/.env.plimsoll-1", "ai-clip", str(journal)):
        assert words in done.stderr, done.stderr
    assert journal.exists()
    # A journal that is nobody's: told all the same, and no reason to fail.
    journal.write_text("{")
    assert "did not come to its end" in nem.apply("--dry-run", "--way-out", 1).stderr
    stat = open(f"/proc/{os.getpid()}/stat").read().rsplit(")", 1)[1].split()
    journal.write_text(json.dumps({**told, "pid": os.getpid(), "pid_start_time": int(stat[19])}))
    busy = nem.apply("--dry-run", "--way-out", 1, check=3)
    assert f"process {os.getpid()}" in busy.stderr
