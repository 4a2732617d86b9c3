"""What people are told about memory: what a task asks for and why, what it was granted, what it uses beyond that.
The texts are those of the built binary, in a pipe and at 80 columns."""

import pytest
from api_link import SIMTASK, Daemon
from conftest import wait_until

GIB = 1 << 30


def shown(box, verb, *args):
    """At 80 columns, lines that were wrapped joined again; no line is wider, but for what may be pasted."""
    text = box.plimsoll(verb, *map(str, args), check=0, env={"COLUMNS": "80"}).stdout
    return text


def joined(text):
    return " ".join(text.split())


@pytest.fixture
def box(simulated):
    return simulated(gpus="big:23.57G:1.0,small:8G:0.4")


def submit(box, *args):
    return int(box.plimsoll("submit", *map(str, args), check=0).stdout)


def test_an_overrun_is_told_while_it_lasts_and_after_it(box):
    daemon = Daemon(box)
    task = submit(box, "--vram", "1G", "--ram", "2G", "-d", "0", "--", SIMTASK, "--vram", "7.8G", "--seconds", "60")
    words = "uses 7.8 GiB of 1 GiB granted on GPU 0; warned: its GPU has room"
    wait_until(lambda: words in box.plimsoll("why", str(task)).stdout, what="its overrun in why")
    text = joined(box.plimsoll("show", str(task), check=0).stdout)
    for part in (f": {words}", "granted 1 GiB of VRAM: said; 2 GiB of RAM: said (watched)", "uses now 7.8 GiB of VRAM", "overrun since"):
        assert part in text, text
    queue = box.plimsoll("queue", check=0).stdout
    assert words in queue and "7.8 GiB of 1 GiB" in queue
    attempt = box.json("show", str(task))["attempts"][0]
    assert attempt["gpus"][0]["used_bytes"] == attempt["gpus"][0]["peak_bytes"] > 7 * GIB
    assert attempt["overrun_since"] > attempt["started_at"] and attempt["overrun_text"] == words
    box.plimsoll("cancel", str(task), check=0)
    daemon.wait(task)
    assert "used 7.8 GiB of 1 GiB granted on GPU 0" in joined(box.plimsoll("show", str(task), check=0).stdout)
    assert "it used 7.8 GiB of 1 GiB granted on GPU 0" in box.plimsoll("why", str(task), check=0).stdout
    assert box.json("show", str(task))["attempts"][0]["gpus"][0]["used_bytes"] is None


def test_a_batch_names_who_used_too_much(box):
    rows = box.file("rows", "1\n2\n")
    told = box.plimsoll("batch", rows, "--vram", "500M", "--", SIMTASK, "--vram", "2G", "--seconds", "3", check=0)
    assert "uses 2 GiB of 500 MiB granted on GPU" in told.stderr
    assert "2 tasks used more than they were granted:\n" in told.stdout
    for task in (1, 2):  # in the order in which they ended
        assert f"\n    task {task} (row {task}) used 2 GiB of 500 MiB granted on GPU" in told.stdout


def test_what_was_asked_for(box):
    first = submit(box, "--kind", "A", "-d", "0", "--", SIMTASK, "--vram", "2G", "--seconds", "60")
    task = submit(
        box, "--kind", "A", "-d", "0", "--ram", "1G", "--cpu", "fallback", "--on-oom", "retry:2,cpu", "--on-overrun", "stop",
        "--batch-size", "8", "--vram-default", "3G", "--fraction", "0.5", "--hold", "--",
        "sh", "-c", "{ echo ${PLIMSOLL_BATCH_SIZE} {gpu} {{gpu}}; }",
    )  # fmt: skip
    lines = shown(box, "show", task)
    text = joined(lines)
    for part in (
        "0.5 of its load line, 3 GiB of VRAM until its kind is known (--vram-default), 1 GiB of RAM",
        "CPU when no GPU here can ever hold it, or on its ladder (--cpu fallback)",
        "on oom retry:2, cpu, fail",
        "on overrun stop: it is ended when it uses more than it was granted",
        "batch size 8",
        "command sh -c '{ echo ${PLIMSOLL_BATCH_SIZE} {gpu} {{gpu}}; }'",
    ):
        assert part in text, lines
    assert all(len(line) <= 80 for line in lines.splitlines() if not line.startswith(("  command", "  folder"))), lines
    waits = submit(box, "--kind", "A", "-d", "0", "--", "true")
    why = box.plimsoll("why", str(waits), check=0).stdout
    assert "needs a GPU to itself until its kind is known" in why and "exclusively" not in why
    assert f"GPU 0 is for task {first} alone, until its kind is known" in why
    assert "asks now a GPU to itself until its kind is known" in joined(shown(box, "show", waits))


def test_where_a_grant_comes_from(box):
    for _ in range(3):
        box.plimsoll("run", "--kind", "L", "--vram", "6G", "--", SIMTASK, "--vram", "5G", "--seconds", "1", check=0)
    box.plimsoll("run", "--kind", "L", "--", SIMTASK, "--vram", "5G", "--seconds", "0.2", check=0)
    assert "granted 5.5 GiB of VRAM: learned from 3 runs of 'L' (p95 5 GiB)" in joined(shown(box, "show", 4))


@pytest.mark.parametrize(
    "rung, add, more",
    [("cpu", "add --cpu fallback", ["--cpu", "fallback"]), ("smaller-batch", "add --batch-size", ["--batch-size", "4"])],
)
def test_a_rung_that_can_never_help_is_refused(box, rung, add, more):
    table = box.file("table.csv", f"n,rung\n1,retry\n2,{rung}\n")
    for verb, row, args in (
        ("submit", "", ["--on-oom", rung, "--", "true"]),
        ("run", "", ["--on-oom", f"retry,{rung}", "--", "true"]),
        ("batch", "row 2: ", [table, "--on-oom", "{rung}", "--", "echo", "{n}"]),
    ):
        refused = box.plimsoll(verb, "--vram", "1G", *args, check=2)
        assert f"{row}--on-oom: the rung '{rung}'" in refused.stderr and add in refused.stderr, refused.stderr
    box.plimsoll("run", "--vram", "1G", "--on-oom", rung, *more, "--", "true", check=0)


def test_rungs_say_which_memory(box):
    daemon = Daemon(box)
    task = daemon.task(
        "sh", "-c", "test $PLIMSOLL_ATTEMPT -gt 1 || (echo 'MemoryError: Unable to allocate 2.00 GiB for an array' >&2; exit 1)",
        on_oom="retry", request={"vram_bytes": GIB, "ram_bytes": GIB},
    )  # fmt: skip
    ended = daemon.wait(task)
    assert ended["state"] == "done", ended
    assert "instead of 1 GiB of RAM" in ended["attempts"][1]["rung"]
    assert "instead of 1 GiB of RAM, by auto" in box.plimsoll("why", str(task), check=0).stdout
    assert "of RAM: raised by its ladder" in joined(box.plimsoll("show", str(task), check=0).stdout)
    assert "on oom retry, fail" in joined(shown(box, "show", task))
