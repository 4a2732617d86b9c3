"""run, submit, queue, show, why, logs, wait, cancel: against a real daemon, on simulated GPUs or on none."""

import os
import re
import signal
import socket

import pytest
from conftest import wait_until


def test_run_is_the_command(two_gpus):
    done = two_gpus.plimsoll("run", "--vram", "2G", "--", "sh", "-c", "echo out; echo $PLIMSOLL_DEVICE {device}; exit 7")
    assert done.returncode == 7
    assert done.stdout == "out\ncuda:0 cuda:0\n"


def test_run_says_which_signal(two_gpus):
    assert two_gpus.plimsoll("run", "--vram", "1G", "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9


def test_run_leaves_other_braces_alone(sandbox):
    done = sandbox.plimsoll("run", "--cpu", "only", "--", "printf", "%s|", "{print $1}", "${x}", "{{device}}", "{", check=0)
    assert done.stdout == "{print $1}|${x}|{device}|{|"


def test_an_odd_variable_is_no_obstacle(sandbox):
    env = {"ODD": b"\xff\xfe", "EVEN": "2"}
    done = sandbox.plimsoll("run", "--cpu", "only", "--", "sh", "-c", "echo $EVEN", env=env, check=0)
    assert done.stdout == "2\n"


def test_run_on_the_chosen_gpu(two_gpus):
    for index in ("0", "1"):
        done = two_gpus.plimsoll("run", "--vram", "1G", "-d", f"cuda:{index}", "--", "echo", "{gpu}", check=0)
        assert done.stdout == f"{index}\n"


def test_run_cancels_on_ctrl_c(sandbox):
    run = sandbox.start_plimsoll("run", "--cpu", "only", "--", "sh", "-c", "echo started; exec sleep 1000")
    assert run.stdout.readline() == "started\n"
    run.send_signal(signal.SIGINT)
    assert run.wait(30) == 128 + signal.SIGINT
    assert [t["state"] for t in sandbox.json("queue")["tasks"]] == ["canceled"]


def test_submit_show_logs_wait(sandbox):
    number = sandbox.plimsoll("submit", "--cpu", "only", "--name", "greeting", "--", "sh", "-c", "echo one; echo two", check=0)
    task = number.stdout.strip()
    assert re.fullmatch(r"\d+", task)
    assert sandbox.plimsoll("wait", task, check=0).stdout == f"task {task}: done\n"
    assert sandbox.plimsoll("logs", f"t{task}", check=0).stdout == "one\ntwo\n"
    assert sandbox.plimsoll("logs", "-n", "1", task, check=0).stdout == "two\n"
    shown = sandbox.json("show", task)
    assert (shown["name"], shown["state"]) == ("greeting", "done")
    assert shown["attempts"][0]["outcome"] == "ok"
    assert shown["request"]["cpu"] == "only"
    text = sandbox.plimsoll("show", task, check=0).stdout
    assert "outcome  ok, exit 0" in text and "command    sh -c 'echo one; echo two'" in text


def test_logs_follow_to_the_end(sandbox):
    release = sandbox.dir / "release"
    task = sandbox.json("submit", "--cpu", "only", "--", "sh", "-c", f"echo first; until [ -e {release} ]; do sleep 0.05; done; echo last")
    logs = sandbox.start_plimsoll("logs", "-f", task["id"])
    assert logs.stdout.readline() == "first\n"
    release.touch()
    assert logs.stdout.readline() == "last\n"
    assert logs.wait(30) == 0


def test_waiting_has_a_reason_in_numbers(two_gpus):
    big = two_gpus.json("submit", "--vram", "11G", "--", "sleep", "1000")["id"]
    wait_until(lambda: two_gpus.json("show", big)["state"] == "running")
    second = two_gpus.json("submit", "--vram", "10G", "--", "sleep", "1000")["id"]
    why = two_gpus.json("why", second)
    assert why["state"] == "waiting" and "10 GiB" in why["reason"]
    text = two_gpus.plimsoll("why", second, check=0).stdout
    assert text.startswith(f"task {second} is waiting: ") and "10 GiB" in text
    listed = two_gpus.plimsoll("queue", "--state", "waiting", check=0).stdout
    assert re.search(rf"^ *{second} +- +sleep +waiting +- +10 GiB +- +needs 10 GiB; GPU 0 has room", listed, re.M)
    assert "running" not in listed
    two_gpus.plimsoll("cancel", "--all", check=0)
    wait_until(lambda: {t["state"] for t in two_gpus.json("queue")["tasks"]} == {"canceled"})


def test_cancel_all_lets_nothing_start(sandbox):
    """What waits goes first: nothing starts in the place of what is ended, and the batch is ended as a whole."""
    started = sandbox.dir / "started"
    line = f"echo {{line}} >>{started}; sleep 1000"
    sandbox.plimsoll("batch", "-", "--detach", "--cpu", "only", "--cpus", os.cpu_count(), "--", "sh", "-c", line, input="1\n2\n3\n", check=0)
    for _ in range(3):
        sandbox.plimsoll("submit", "--cpu", "only", "--cpus", os.cpu_count(), "--", "sh", "-c", f"echo single >>{started}; sleep 1000", check=0)
    wait_until(lambda: started.exists() and started.read_text().endswith("\n"))
    before = started.read_text()
    running = before.count("\n")
    said = sandbox.plimsoll("cancel", "--all", check=0).stdout
    assert said.startswith(f"{6 - running} waiting task") and f"{running} running task" in said and "being stopped" in said
    wait_until(lambda: {t["state"] for t in sandbox.json("queue")["tasks"]} == {"canceled"})
    assert started.read_text() == before
    assert sandbox.plimsoll("cancel", "--all", check=0).stdout == "nothing waits and nothing runs\n"


def test_the_counts_of_a_batch_that_goes_on_are_its_own(sandbox):
    go = sandbox.dir / "go"
    line = f"test -e {go} && exec sleep 1000; exit 1"
    sandbox.plimsoll("batch", "-", "--cpu", "only", "--", "sh", "-c", line, "{line}", input="1\n2\n", check=1)
    go.touch()
    sandbox.plimsoll("retry", "b1", check=0)
    wait_until(lambda: sandbox.json("show", "b1")["batch"]["running"] > 0)
    told = sandbox.json("show", "b1")
    assert told["batch"]["failed"] == told["summary"]["failed"] == told["batch"]["canceled"] == told["summary"]["canceled"] == 0
    assert "batch b1: 0 done, 0 failed, 2 running\n" in sandbox.plimsoll("show", "b1", check=0).stdout
    assert "being stopped" in sandbox.plimsoll("cancel", "b1", check=0).stdout


def test_a_batch_of_the_cpu_says_little_in_a_pipe(two_gpus):
    """No line about GPUs, none for each start; of many failures the first twenty."""
    rows = "".join(f"{i}\n" for i in range(25))
    done = two_gpus.plimsoll("batch", "-", "-y", "--cpu", "only", "--", "false", "{line}", input=rows, check=1)
    assert "GPU" not in done.stderr + done.stdout.split("batch b1:")[0]
    assert done.stderr.count("failed: ") == 20 and "... and 5 more failed" in done.stderr
    assert "batch b1: 0 done, 25 failed\n" in done.stdout


def test_a_batch_that_was_canceled_says_why(sandbox):
    failed = sandbox.json("submit", "--cpu", "only", "--", "false")["id"]
    done = sandbox.plimsoll("batch", "-", "--after", failed, "--cpu", "only", "--", "true", "{line}", input="1\n2\n", check=1)
    assert re.search(rf"batch b1: 0 done, 0 failed, 2 canceled\n  canceled: .*{failed}", done.stdout)
    shown = sandbox.plimsoll("show", "b1", check=0).stdout
    assert re.search(rf"  canceled: .*{failed}", shown)


def test_wait_tells_of_failure(sandbox):
    task = sandbox.json("submit", "--cpu", "only", "--", "false")["id"]
    done = sandbox.plimsoll("wait", task, check=1)
    assert done.stdout == f"task {task}: failed (exit 1); plimsoll logs {task}\n"


def test_several_are_one_json_document(sandbox):
    assert sandbox.json("cancel", "--all") == {"canceled": 0, "stopping": 0, "canceled_batches": 0}
    task = sandbox.json("submit", "--cpu", "only", "--", "true")["id"]
    sandbox.plimsoll("batch", "-", "--cpu", "only", "--", "true", "{line}", input="a\n", check=0)
    told = sandbox.json("wait", str(task), "b1")
    assert [t["id"] for t in told["tasks"]] == [task] and [b["batch"]["id"] for b in told["batches"]] == [1]
    assert sandbox.json("wait", str(task))["state"] == "done"
    assert sandbox.json("wait", "b1")["summary"]
    waits = [sandbox.json("submit", "--cpu", "only", "--", "sleep", "1000")["id"] for _ in range(3)]
    assert sandbox.json("cancel", str(waits[0]))["id"] == waits[0]
    assert [t["id"] for t in sandbox.json("cancel", *map(str, waits[1:]))["tasks"]] == waits[1:]
    assert "there is no batch 99" in sandbox.plimsoll("queue", "--batch", "b99", check=2).stderr
    assert sandbox.json("queue", "--batch", "b1", "--state", "failed")["tasks"] == []


def test_what_cannot_be_started_says_so(sandbox):
    done = sandbox.plimsoll("run", "--cpu", "only", "--", "nosuchprogram", check=127)
    assert "command not found: nosuchprogram" in done.stderr
    wide = sandbox.plimsoll("queue", env={"COLUMNS": "200"}, check=0).stdout
    assert "could not be started: command not found: nosuchprogram" in wide
    assert "command not found: nosuchprogram" in sandbox.plimsoll("show", "1", check=0).stdout
    assert "command not found: nosuchprogram" in sandbox.plimsoll("why", "1", check=0).stdout
    assert sandbox.plimsoll("wait", "1", check=1).stdout == "task 1: failed (did not start); plimsoll why 1\n"
    batch = sandbox.plimsoll("batch", "--cpu", "only", "-y", "-", "--", "nosuchprogram", "{line}", input="a\n", check=1)
    assert "did not start" in batch.stdout and "plimsoll why 2" in batch.stdout


def test_why_of_what_has_ended(two_gpus):
    two_gpus.plimsoll("run", "--vram", "1G", "-d", "1", "--", "true", check=0)
    two_gpus.plimsoll("run", "--vram", "10G", "--", "sh", "-c", "exit 3", check=3)
    gpus = {g["index"]: g["name"] for g in two_gpus.json("gpus")["gpus"]}
    done, failed = two_gpus.json("why", "1"), two_gpus.json("why", "2")
    assert re.fullmatch(rf"ran on GPU 1 \({gpus[1]}\) for [0-9].*, exit code 0", done["reason"])
    assert re.fullmatch(rf"attempt 1 on GPU 1 \({gpus[1]}\), by auto: .*; it ended after [0-9].*: ok, exit code 0",
                        done["details"][0])
    assert failed["reason"] == "exit code 3"
    assert f"on GPU 0 ({gpus[0]}), by auto: GPU 0" in failed["details"][0]
    assert failed["details"][0].endswith(": error, exit code 3")
    assert "GPU-" not in two_gpus.plimsoll("why", "1", check=0).stdout
    two_gpus.plimsoll("serve", "--stop", check=0)
    # A new daemon knows it from the store, and the names once it has seen the GPUs.
    wait_until(lambda: two_gpus.json("why", "1") == done)


def test_wrong_words_are_usage(sandbox):
    for args, said in (
        (("show", "x7"), "neither a task (17) nor a batch (b3)"),
        (("logs", "b1"), "is a batch, a task is meant"),
        (("cancel",), "or --all"),
        (("queue", "--state", "wating"), "not one of waiting, held"),
        (("run", "--vram", "2", "--", "true"), 'size "2" has no unit'),
        (("run", "--vram", "{x}", "--", "true"), "--vram"),
        (("run", "--cpu", "only", "-d", "0", "--", "true"), "contradicts"),
        (("run", "--vram", "1G"), "the command is missing"),
        (("submit", "--cpu", "only", "--gpus", "2", "--", "true"), "takes no GPU"),
    ):
        done = sandbox.plimsoll(*args, check=2)
        assert said in done.stderr, done.stderr
    assert list((sandbox.dir / "run").iterdir()) == [], "wrong usage must not start a daemon"


def test_what_is_not_there_is_said(sandbox):
    assert "99" in sandbox.plimsoll("show", "99", check=2).stderr
    assert "9" in sandbox.plimsoll("wait", "b9", check=2).stderr


def test_a_socket_of_somebody_else_is_refused(sandbox):
    if os.geteuid() != 0:
        pytest.skip("only root can give a socket away")
    folder = sandbox.dir / "run" / "plimsoll"
    folder.mkdir(mode=0o700)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "api.sock"))
    server.listen()
    os.chown(folder / "api.sock", 12345, 12345)
    done = sandbox.plimsoll("queue", check=3)
    assert "12345" in done.stderr or "belongs" in done.stderr
    server.close()


def test_serve_is_seen_and_stopped(sandbox):
    sandbox.plimsoll("serve", "--background", check=0)
    assert (sandbox.dir / "run/plimsoll/api.sock").exists()
    sandbox.plimsoll("serve", "--stop", check=0)
    wait_until(lambda: "no daemon runs" in sandbox.plimsoll("serve", "--stop").stderr)
