"""What is learned of kinds of tasks: list, show, forget, and what the next task gets."""

import json
import os
import signal

from conftest import wait_until

GIB = 1 << 30


def simtask(box, vram, *more):
    return ["--", box.build / "plimsoll-simtask", "--vram", vram, "--seconds", "1.2", *more]


def run_some(box, kind, vrams, *options):
    """Tasks side by side, each measured at least once."""
    ids = [box.json("submit", "--kind", kind, *options, *simtask(box, vram))["id"] for vram in vrams]
    for one in ids:
        box.plimsoll("wait", one, check=0, timeout=120)
    return ids


def kinds(box):
    return {profile["kind"]: profile for profile in box.json("profile", "list")["profiles"]}


def test_nothing_yet(two_gpus):
    box = two_gpus
    assert box.json("profile") == {"profiles": []}
    assert "nothing was learned" in box.plimsoll("profile", check=0).stdout
    gone = box.plimsoll("profile", "show", "train.py")
    assert gone.returncode == 2 and "train.py" in gone.stderr and "profile list" in gone.stderr
    assert box.plimsoll("profile", "forget", "train.py").returncode == 2
    for words in (["list", "x"], ["show"], ["forget"], ["forget", "--all", "x"], ["show", "--all", "x"], ["drop", "x"]):
        assert box.plimsoll("profile", *words).returncode == 2, words


def test_three_runs_then_forgotten(two_gpus):
    box = two_gpus
    run_some(box, "my kind/a b", ("1G", "2G"), "--vram", "3G")
    profile = kinds(box)["my kind/a b"]
    assert profile["default_vram_bytes"] is None and profile["need"]["proven"] and not profile["need"]["known"]
    run_some(box, "my kind/a b", ("2G",), "--vram", "3G")
    profile = kinds(box)["my kind/a b"]
    assert profile["runs"] == 3 and profile["need"]["known"]
    peak = profile["need"]["p95_vram_bytes"]
    assert 2 * GIB <= peak < 2.5 * GIB
    assert profile["default_vram_bytes"] == peak + max(peak // 10, 256 << 20)
    shown = box.json("profile", "show", "my kind/a b")["profiles"][0]
    assert sum(len(gpu["vram_peaks"]) for gpu in shown["gpus"]) == 3
    text = box.plimsoll("profile", "show", "my kind/a b", check=0).stdout
    assert "without --vram the next one gets" in text and "peaked at" in text and "5070 Ti" in text
    # Without --vram: what was learned.
    learned = box.json("submit", "--kind", "my kind/a b", *simtask(box, "2G"))["id"]
    box.plimsoll("wait", learned, check=0)
    granted = box.json("show", learned)["attempts"][0]
    assert granted["outcome"] == "ok"
    assert [gpu["vram_bytes"] for gpu in granted["gpus"]] == [profile["default_vram_bytes"]]
    assert kinds(box)["my kind/a b"]["runs"] == 4
    # It outlives the daemon; and so does having been forgotten.
    before = kinds(box)
    restart(box)
    assert {kind: known["runs"] for kind, known in kinds(box).items()} == {"my kind/a b": 4}
    # What the next one gets depends on the GPUs that are here, which it has to see first.
    wait_until(lambda: kinds(box) == before, what="what it knew before")
    run_some(box, "other", ("1G",), "--vram", "2G")
    assert "1 kind is forgotten" in box.plimsoll("profile", "forget", "my kind/a b", check=0).stdout
    assert list(kinds(box)) == ["other"]
    restart(box)
    assert list(kinds(box)) == ["other"]
    refused = box.plimsoll("profile", "forget", "--all")
    assert refused.returncode == 2 and "--yes" in refused.stderr and kinds(box)
    assert json.loads(box.plimsoll("profile", "forget", "--all", "--yes", "--json", check=0).stdout) == {"forgotten": 1}
    restart(box)
    assert not kinds(box)


def restart(box):
    """The next call starts another daemon."""
    pid = int(next(box.dir.rglob("daemon.pid")).read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}") or open(f"/proc/{pid}/stat").read().split()[2] == "Z")


def test_a_failure_teaches_a_floor_and_an_out_of_memory(two_gpus):
    box = two_gpus
    failed = box.json("submit", "--kind", "breaks", "--vram", "2G", *simtask(box, "1G", "--exit", "3"))["id"]
    box.plimsoll("wait", failed, check=1)
    profile = kinds(box)["breaks"]
    assert profile["runs"] == 0 and profile["need"]["p95_vram_bytes"] >= GIB
    ids = [box.json("submit", "--kind", "large", "--vram", "5G", *simtask(box, "30G", "--ramp", "1"))["id"]]
    box.plimsoll("wait", *ids, check=1, timeout=120)
    profile = kinds(box)["large"]
    assert profile["need"]["oom_vram_bytes"] and not profile["need"]["known"]
    assert profile["need"]["vram_bytes"] > profile["need"]["oom_vram_bytes"]
    assert "one ran out of memory, wanting" in box.plimsoll("profile", "show", "large", check=0).stdout


def test_wrong_requests_are_said(two_gpus):
    box = two_gpus
    # They take the same, whatever they say.
    for said in ("3G", "4G", "5G"):
        run_some(box, "k", ("2G",), "--vram", said)
    good = box.plimsoll("submit", "--kind", "k", "--vram", "3G", *simtask(box, "2G"), check=0)
    assert good.stderr == ""
    waste = box.plimsoll("submit", "--kind", "k", "--vram", "7G", *simtask(box, "2G"), check=0)
    assert "kind k says 7 GiB; " in waste.stderr and "(p95): " in waste.stderr and "would do" in waste.stderr
    shown = box.plimsoll("show", waste.stdout.strip(), check=0).stdout
    assert "warning    it says 7 GiB" in shown
    rows = box.file("rows.txt", "a\nb\nc\n")
    small = box.plimsoll("batch", rows, "-y", "--kind", "k", "--vram", "1G", *simtask(box, "2G"), "{row}", check=0, timeout=120)
    said = [line for line in small.stderr.splitlines() if "says 1 GiB" in line]
    assert len(said) == 1 and "(3 tasks)" in said[0] and "is needed" in said[0], small.stderr
    assert "kind k (3 tasks) says 1 GiB" in small.stdout
    summary = box.json("show", "b1")["summary"]
    assert [(w["kind"], w["tasks"]) for w in summary["warnings"]] == [("k", 3)]


def test_one_kind_of_all_sizes(two_gpus):
    box = two_gpus

    def batch(kind, share):
        sizes = box.file("sizes.csv", "vram,said\n" + "".join(f"{size}G,{size * share:.2f}G\n" for size in (1, 2, 4, 6)))
        words = ["--vram", "{said}", "--kind", kind, "--", box.build / "plimsoll-simtask", "--vram", "{vram}", "--seconds", "0.7"]
        return box.plimsoll("batch", sizes, "-y", *words, check=0, timeout=120)

    # All right: with others of its name measured at 6 GiB, one of 1 GiB is neither raised nor warned of.
    for _ in range(2):
        assert "says" not in batch("right", 1.5).stderr
    need = kinds(box)["right"]["need"]
    assert need["known"] and 66 <= need["said_percent"] <= 100
    queue = box.json("queue", "--all")["tasks"]
    asked = [(task["request"]["vram_bytes"], attempt["gpus"][0]["vram_bytes"]) for task in queue for attempt in task["attempts"]]
    assert len(asked) == 8 and all(said == granted for said, granted in asked), asked
    # Too small by the same ratio: raised by that, and not to what the largest takes.
    batch("wrong", 0.6)
    small = box.plimsoll("submit", "--kind", "wrong", "--vram", "1.2G", *simtask(box, "2G"), check=0)
    assert "kind wrong says 1.2 GiB; " in small.stderr and "times what they said: " in small.stderr, small.stderr
    box.plimsoll("wait", small.stdout.strip(), check=0)
    granted = box.json("show", small.stdout.strip())["attempts"][0]["gpus"][0]["vram_bytes"]
    assert 2 * GIB <= granted <= 4 * GIB
