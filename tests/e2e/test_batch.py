"""plimsoll batch: rows in, tasks on the right GPUs, the result out."""

import json
import os
import re
import signal

import pytest
from conftest import wait_until

LINE = re.compile(r"GPU 0: \d+/\d+ tasks, \d+% util \| GPU 1: \d+/\d+ tasks, \d+% util")


def simtask(box, *args):
    return (box.build / "plimsoll-simtask", *args)


def test_rows_of_every_form(sandbox):
    forms = {
        "a.json": '[{"file": "x 1", "n": 1}, {"file": "y", "n": 2}]',
        "a.jsonl": '{"file": "x 1", "n": 1}\n{"file": "y", "n": 2}\n',
        "a.csv": '\ufefffile,n\r\n"x 1",1\r\ny,2\r\n',
    }
    for name, text in forms.items():
        path = sandbox.file(name, text)
        result = sandbox.json("batch", path, "--cpu", "only", "--", "echo", "{n}:{file}")
        assert result["summary"]["done"] == 2, name
        logs = [sandbox.plimsoll("logs", t["id"], check=0).stdout for t in result["tasks"]]
        assert logs == ["1:x 1\n", "2:y\n"], name
        assert [t["name"] for t in result["tasks"]] == ["x 1", "y"], name
    result = json.loads(
        sandbox.plimsoll("batch", "-", "--json", "--cpu", "only", "--", "echo", "{line}", input="p q\n\nr\n", check=0).stdout
    )
    assert [sandbox.plimsoll("logs", t["id"]).stdout for t in result["tasks"]] == ["p q\n", "r\n"]


def test_long_names_are_cut(sandbox):
    folder = sandbox.dir / ("f" * 200) / ("g" * 200)
    folder.mkdir(parents=True)
    (folder / "rows.json").write_text(json.dumps([{"text": "ü" * 1000}]))
    result = sandbox.json("batch", folder / "rows.json", "--cpu", "only", "--", "true", "{text}")
    assert result["batch"]["name"] == "rows.json"
    assert result["tasks"][0]["name"].startswith("üüü") and len(result["tasks"][0]["name"]) <= 80


def test_values_are_never_read_by_a_shell_or_as_placeholders(sandbox):
    path = sandbox.file("odd.json", [{"file": "$(touch pwned) {gpu} '\"; `x`"}])
    result = sandbox.json("batch", path, "--cpu", "only", "--", "printf", "%s", "{file}")
    assert sandbox.plimsoll("logs", result["tasks"][0]["id"]).stdout == "$(touch pwned) {gpu} '\"; `x`"
    assert not (sandbox.dir / "pwned").exists()


def test_both_gpus_never_above_the_load_line(two_gpus):
    rows = [{"vram": size, "s": 0.6} for size in ("0.5G", "1.5G", "2.5G", "5G") * 5]
    path = two_gpus.file("rows.json", rows)
    command = simtask(two_gpus, "--vram", "{vram}", "--seconds", "{s}", "--util", "20")
    batch = two_gpus.start_plimsoll("batch", path, "--vram", "{vram}", "--json", "--", *command)
    while batch.poll() is None:
        for gpu in two_gpus.json("gpus")["gpus"]:
            assert gpu["vram"]["used_bytes"] <= gpu["vram"]["load_line_bytes"]
            assert gpu["vram"]["allocated_bytes"] <= gpu["vram"]["load_line_bytes"]
    result = json.loads(batch.stdout.read())
    assert batch.returncode == 0
    assert result["summary"]["done"] == 20 and result["summary"]["failed"] == 0
    assert all(gpu["tasks"] > 0 for gpu in result["summary"]["gpus"])
    starts = LINE.findall(batch.stderr.read())
    assert len(starts) == 20, "one line for each start"


def test_sixty_mixed_tasks_of_the_story(two_gpus):
    """Story S2: Whisper sizes on 11.9 + 8 GB. The simulator keeps each GPU's peak at every allocation, not by sampling."""
    sizes = {"0.5G": 20, "0.8G": 25, "1.5G": 30, "2.5G": 40, "5G": 60}
    rows = [{"vram": size, "util": util, "s": 0.4 + 0.1 * (i % 4)} for i in range(12) for size, util in sizes.items()]
    command = simtask(two_gpus, "--vram", "{vram}", "--seconds", "{s}", "--util", "{util}")
    path = two_gpus.file("sixty.json", rows)
    result = two_gpus.json("batch", path, "-y", "--vram", "{vram}", "--", *command)
    summary = result["summary"]
    assert summary["done"] == 60 and summary["failed"] == 0
    assert all(len(task["attempts"]) == 1 and task["attempts"][0]["outcome"] == "ok" for task in result["tasks"])
    lines = {gpu["uuid"]: gpu["vram"]["load_line_bytes"] for gpu in two_gpus.json("gpus")["gpus"]}
    status = json.loads(two_gpus.run(two_gpus.build / "plimsoll-sim", "status", "--json", check=0).stdout)
    for gpu, told in zip(status["gpus"], summary["gpus"]):
        assert gpu["oom_count"] == 0 and told["tasks"] > 0
        assert 0 < gpu["peak_used_bytes"] <= lines[told["uuid"]]
    assert summary["wall_seconds"] < summary["even_split_seconds"]


def test_limits_are_kept(two_gpus):
    path = two_gpus.file("rows.txt", "\n".join(map(str, range(12))))
    command = simtask(two_gpus, "--vram", "0.5G", "--seconds", "0.3")
    batch = two_gpus.start_plimsoll("batch", path, "-t", "3", "--max-per-gpu", "2", "--vram", "0.5G", "--", *command)
    most = 0
    while batch.poll() is None:
        running = [t for t in two_gpus.json("queue", "--state", "running")["tasks"] if t["state"] == "running"]
        on = [t["attempts"][-1]["gpus"][0]["index"] for t in running]
        most = max(most, len(on))
        assert len(on) <= 3 and on.count(0) <= 2 and on.count(1) <= 2
    assert batch.returncode == 0 and most > 1


def test_the_table_at_the_end(two_gpus):
    path = two_gpus.file("rows.txt", "1\n2\n3\n")
    done = two_gpus.plimsoll("batch", path, "--vram", "1G", "--", *simtask(two_gpus, "--vram", "1G", "--seconds", "2"), check=0)
    assert re.search(r"GPU +name +tasks +mean util +peak VRAM +load line +tasks/hour", done.stdout)
    assert re.search(r"batch b1: 3 done, 0 failed", done.stdout)
    for words in ("wall time", "lower bound", "an even split by hand"):
        assert words in done.stdout


FAILING = ("sh", "-c", "echo working on {line}; test {line} != 2")


def test_a_failure_stops_a_pipe(sandbox):
    path = sandbox.file("rows.txt", "1\n2\n3\n4\n")
    done = sandbox.plimsoll("batch", path, "-t", "1", "--cpu", "only", "--", *FAILING, check=1)
    assert "failed: row 2 (exit 1); plimsoll logs 2" in done.stderr
    assert "1 done, 1 failed, 2 canceled" in done.stdout
    assert re.search(r"^row 2 +2 +exit 1 +cpu +plimsoll logs 2$", done.stdout, re.M)


def test_yes_goes_on(sandbox):
    path = sandbox.file("rows.txt", "1\n2\n3\n4\n")
    done = sandbox.plimsoll("batch", path, "-y", "-t", "1", "--cpu", "only", "--", *FAILING, check=1)
    assert "3 done, 1 failed, 3 on the CPU\n" in done.stdout
    assert "even split" not in done.stdout, "there is nothing to split among GPUs"


def test_resume_skips_what_is_done(sandbox):
    path = sandbox.file("rows.txt", "1\n2\n3\n")
    sandbox.plimsoll("batch", path, "-y", "--cpu", "only", "--", *FAILING, check=1)
    again = sandbox.plimsoll("batch", path, "-y", "--resume", "--json", "--cpu", "only", "--", *FAILING, check=1)
    assert "2 of 3 rows are done already" in again.stderr
    assert [t["row"] for t in json.loads(again.stdout)["tasks"]] == [2]
    # Another folder is other work.
    other = sandbox.dir / "other"
    other.mkdir()
    elsewhere = sandbox.plimsoll("batch", path, "-y", "--resume", "--cpu", "only", "--", *FAILING, check=1, cwd=other)
    assert "done already" not in elsewhere.stderr


@pytest.mark.parametrize(
    "rows, args, said",
    [
        ('[{"a": 1}]', ("--vram", "1G", "--", "x", "{b}"), "rows.json:1: row 1: unknown placeholder {b}; the row has {a} {row}"),
        ('[{"a": 1}]', ("--vram", "{b}", "--", "x"), "unknown placeholder {b}"),
        ('[{"a": 1},\n{"a": }]', ("--vram", "1G", "--", "x"), "rows.json:2: row 2: "),
        ('[{"a": 1},\n{"a": "99G"}]', ("--vram", "{a}G", "--", "x"), "rows.json:2: row 2: --vram"),
        ('[{"a": "1G"},\n{"a": "99G"}]', ("--vram", "{a}", "--", "x"), "rows.json:2: row 2: asks for 99 GiB of VRAM; the largest load line is 11.34 GiB"),
        ('[{"a": 1}]', ("--vram", "1G", "-d", "cuda:7", "--", "x"), "cuda:7"),
        ('[{"a": 1}]', ("--vram", "1", "--", "x"), 'size "1" has no unit'),
        ('[{"a": null}]', ("--vram", "1G", "--", "x", "{a}"), "{a} is null"),
        ("[]", ("--vram", "1G", "--", "x"), "there is no row"),
        ('[{"a": 1}]', ("--vram", "1G"), "the command is missing"),
        ('[{"a": 1}]', ("--policy", "blance", "--", "x"), "not one of auto, balance"),
        ('[{"a": 1}]', ("--treads", "3", "--", "x"), "did you mean --threads?"),
    ],
)
def test_bad_input_starts_nothing(two_gpus, rows, args, said):
    two_gpus.file("rows.json", rows)
    done = two_gpus.plimsoll("batch", "rows.json", *args, check=2)
    assert said in done.stderr.replace("\n", " ") or said in done.stderr, done.stderr
    assert two_gpus.json("queue")["tasks"] == []


def test_ctrl_c_leaves_it_running_and_wait_comes_back(sandbox):
    release = sandbox.dir / "release"
    path = sandbox.file("rows.txt", "1\n2\n")
    wait_for_it = ("sh", "-c", f"until [ -e {release} ]; do sleep 0.05; done")
    batch = sandbox.start_plimsoll("batch", path, "--cpu", "only", "--", *wait_for_it)
    wait_until(lambda: len(sandbox.json("queue", "--state", "running")["tasks"]) == 2)
    batch.send_signal(signal.SIGINT)
    assert batch.wait(30) == 130
    assert "plimsoll wait b1" in batch.stderr.read()
    release.touch()
    assert "2 done, 0 failed" in sandbox.plimsoll("wait", "b1", check=0).stdout


def test_ctrl_c_twice_cancels(sandbox):
    path = sandbox.file("rows.txt", "1\n2\n3\n")
    batch = sandbox.start_plimsoll("batch", path, "-t", "1", "--cpu", "only", "--", "sleep", "1000")
    wait_until(lambda: len(sandbox.json("queue", "--state", "running")["tasks"]) == 1)
    batch.send_signal(signal.SIGINT)
    for line in batch.stderr:
        if "plimsoll wait b1" in line:
            break
    batch.send_signal(signal.SIGINT)
    assert batch.wait(60) == 1
    assert {t["state"] for t in sandbox.json("queue")["tasks"]} == {"canceled"}


def test_the_daemon_may_go_away(sandbox):
    release = sandbox.dir / "release"
    path = sandbox.file("rows.txt", "1\n2\n")
    wait_for_it = ("sh", "-c", f"until [ -e {release} ]; do sleep 0.05; done")
    batch = sandbox.start_plimsoll("batch", path, "--cpu", "only", "--", *wait_for_it)
    wait_until(lambda: len(sandbox.json("queue", "--state", "running")["tasks"]) == 2)
    pid = int((sandbox.dir / "run/plimsoll/daemon.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    release.touch()
    assert batch.wait(60) == 0
    assert "2 done, 0 failed" in batch.stdout.read()
    assert "the daemon went away" in batch.stderr.read()


def test_cpu_only_needs_no_gpu(sandbox):
    path = sandbox.file("rows.txt", "1\n2\n")
    result = sandbox.json("batch", path, "--cpu", "only", "--", "sh", "-c", "test $PLIMSOLL_DEVICE = cpu")
    assert result["summary"]["on_cpu"] == 2


def test_kinds_learn_apart(two_gpus):
    path = two_gpus.file("rows.json", [{"v": "1G"}, {"v": "2G"}])
    script = two_gpus.file("work.sh", "exit 0\n")
    result = two_gpus.json("batch", path, "--vram", "{v}", "--", "bash", script, "{v}")
    assert [t["kind"] for t in result["tasks"]] == ["work.sh@1 GiB", "work.sh@2 GiB"]


def test_work_follows_the_input_files(sandbox):
    sandbox.file("long.wav", "x" * 3000)
    sandbox.file("short.wav", "x" * 100)
    path = sandbox.file("rows.json", ["long.wav", "short.wav", "missing.wav"])
    result = sandbox.json("batch", path, "--cpu", "only", "--", "true", "--in={line}")
    assert [t["work"] for t in result["tasks"]] == [3000, 100, None]
    path = sandbox.file("rows.csv", "file,minutes\nlong.wav,7\nshort.wav,2.5\n")
    result = sandbox.json("batch", path, "--cpu", "only", "--work", "{minutes}", "--", "true", "{file}")
    assert [t["work"] for t in result["tasks"]] == [7, 2.5]


def test_detach_prints_the_id(sandbox):
    path = sandbox.file("rows.txt", "1\n")
    assert sandbox.plimsoll("batch", path, "--detach", "--cpu", "only", "--", "true", check=0).stdout == "b1\n"
    sandbox.plimsoll("wait", "b1", check=0)


def test_a_batch_that_cannot_start_says_why(simulated):
    """NVML hung before it came: no event tells, and yet it is said, once, and that it is over."""
    box = simulated(gpus="rtx-a400")
    box.plimsoll("run", "--vram", "1G", "--", "true", check=0)
    box.plimsoll("sim", "inject", "event: hang", check=0)
    wait_until(lambda: box.json("gpus", check=None)["gpus"][0]["health"] == "stale")
    batch = box.start_plimsoll("batch", box.file("rows.txt", "a\n"), "--vram", "1G", "--", "echo", "{line}")
    assert batch.stderr.readline() == "batch b1: 1 task\n"
    assert "stale since" in batch.stderr.readline()
    box.plimsoll("sim", "inject", "event: unhang", check=0)
    rest = batch.communicate(timeout=60)[1]
    assert batch.returncode == 0 and "stale" not in rest


def test_a_gpu_that_is_not_there_is_named_by_its_option(two_gpus):
    path = two_gpus.file("rows.txt", "a\n")
    refused = two_gpus.plimsoll("batch", path, "-d", "cuda:7", "--", "true", check=2).stderr
    assert refused.startswith(f"plimsoll: {path}:1: row 1: --device: there is no GPU 'cuda:7'")
