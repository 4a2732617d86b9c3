"""docs/out-of-memory.md: what it shows is what is printed, and its command works as it stands there."""

import os
import pathlib
import subprocess

from api_link import Daemon

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "out-of-memory.md").read_text()
SAYS = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8.84 GiB. GPU 0 has a total capacity of 23.57 GiB of which 8.32 "
    "GiB is free. Process 4711 has 9.00 GiB memory in use. Including non-PyTorch memory, this process has 6.25 GiB memory in use. Of "
    "the allocated memory 5.90 GiB is allocated by PyTorch, and 77.08 MiB is reserved by PyTorch but unallocated."
)


def blocks(after):
    """The first indented block of the docs behind these words."""
    return DOCS.split(after)[1].split("\n\n")[1]


def words(text):
    return " ".join(text.split())


def test_its_example_is_printed(simulated):
    daemon = Daemon(simulated(gpus="any:24G:1.0"))
    falls = f"echo '{SAYS}' >&2; exit 1"
    fails = daemon.task("sh", "-c", falls, on_oom="fail", request={"vram_bytes": 6 << 30})
    recovers = daemon.task("sh", "-c", f"test $PLIMSOLL_ATTEMPT -gt 1 || {{{{ {falls}; }}}}", request={"vram_bytes": 6 << 30})
    ended = daemon.wait(fails)
    assert [attempt["oom_used_bytes"] for attempt in ended["attempts"]] == [6400 << 20], ended
    shown = daemon.box.plimsoll("show", fails, check=0).stdout
    reason, evidence = (line for line in map(words, blocks("the id of its pattern").split("    ...\n")))
    assert reason in words(shown) and evidence in words(shown), shown
    # Of one that was got over, too.
    assert daemon.wait(recovers)["state"] == "done"
    shown = daemon.box.plimsoll("show", recovers, check=0).stdout
    assert evidence in words(shown) and "outcome  ok, exit 0" in shown, shown


def test_its_command_works(tmp_path):
    for kind in ("oom", "not-oom", "host-oom"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "index.tsv").write_text("file\texpected\tbytes\tprogram\tsource\n")
    (tmp_path / "oom" / "1.txt").write_text(SAYS + "\n")
    with (tmp_path / "oom" / "index.tsv").open("a") as index:
        index.write(f"1.txt\toom\t{int(8.84 * (1 << 30))}\tPyTorch\there\n")
    command = DOCS.split("## How often it is right")[1].split("`")[1].replace("FOLDER", str(tmp_path))
    program, folder = command.split()
    env = {name: value for name, value in os.environ.items() if not name.startswith("PLIMSOLL_")}
    if "PLIMSOLL_BUILD" in os.environ:
        program = program.replace("build", os.environ["PLIMSOLL_BUILD"], 1)
    ran = subprocess.run([ROOT / program, folder], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0 and "100.0%  1 of 1" in ran.stdout + ran.stderr, (ran.stdout, ran.stderr)
