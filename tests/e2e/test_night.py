"""A night's work: what a task waits for, how long it may run, how often it is tried, which GPUs it gets; each option
from the command line to what happens."""

import signal

from conftest import wait_until


def task(box, number):
    return box.json("show", number)


def submit(box, *words, check=0):
    """The number of a task that needs no GPU."""
    return box.json("submit", "--cpu", "only", *words, check=check)["id"]


def state(box, number):
    return task(box, number)["state"]


def ended(box, number):
    return wait_until(lambda: (t := task(box, number))["state"] in ("done", "failed", "canceled", "lost") and t,
                      what=f"the end of task {number}")


def refused(box, *words):
    """Status 2 and what was said."""
    return box.plimsoll(*words, check=2).stderr


# Dependencies


def test_after_success(sandbox):
    gate = sandbox.dir / "gate"
    first = submit(sandbox, "--", "sh", "-c", f"while [ ! -e {gate} ]; do sleep 0.02; done")
    second = submit(sandbox, "--after", first, "--", "true")
    third = submit(sandbox, "--after", f"{first},{second}", "--", "true")
    told = task(sandbox, third)
    assert told["state"] == "waiting" and told["after"] == {
        "tasks": [first, second], "batches": [], "on": "success", "any": False,
        "left": {"tasks": [first, second], "batches": []}}
    assert str(first) in sandbox.plimsoll("why", second, check=0).stdout
    gate.touch()
    assert ended(sandbox, third)["state"] == "done"
    starts = [task(sandbox, n)["attempts"][0]["started_at"] for n in (first, second, third)]
    assert starts == sorted(starts)


def test_after_what_fails(sandbox):
    bad = submit(sandbox, "--", "false")
    assert ended(sandbox, bad)["state"] == "failed"
    never = submit(sandbox, "--after", bad, "--", "true")
    assert ended(sandbox, never)["state"] == "canceled"
    assert str(bad) in sandbox.plimsoll("why", never, check=0).stdout
    for how in ("failure", "end"):
        assert ended(sandbox, submit(sandbox, "--after", bad, "--after-on", how, "--", "true"))["state"] == "done"
    good = submit(sandbox, "--", "true")
    assert ended(sandbox, submit(sandbox, "--after", f"{bad},{good}", "--after-any", "--", "true"))["state"] == "done"


def test_after_a_batch(sandbox):
    gate = sandbox.dir / "gate"
    sandbox.plimsoll("batch", "--array", "1-3", "--cpu", "only", "--detach", "--", "sh", "-c",
                     f"while [ ! -e {gate} ]; do sleep 0.02; done", check=0)
    after = submit(sandbox, "--after", "b1", "--", "true")
    assert task(sandbox, after)["after"]["batches"] == [1]
    gate.touch()
    assert ended(sandbox, after)["state"] == "done"


def test_after_what_left_the_memory(sandbox):
    """What ended before the daemon came is looked up in the store."""
    good, bad = submit(sandbox, "--", "true"), submit(sandbox, "--", "false")
    sandbox.plimsoll("batch", "--array", "1-2", "--cpu", "only", "--", "true", check=0)
    ended(sandbox, bad)
    sandbox.plimsoll("serve", "--stop", check=0)
    assert ended(sandbox, submit(sandbox, "--after", f"{good},b1", "--", "true"))["state"] == "done"
    assert ended(sandbox, submit(sandbox, "--after", bad, "--", "true"))["state"] == "canceled"
    assert "99" in refused(sandbox, "submit", "--cpu", "only", "--after", "99", "--", "true")


# Time


def test_at(sandbox):
    number = submit(sandbox, "--at", "+1s", "--", "true")
    told = task(sandbox, number)
    assert told["state"] == "waiting" and told["at"] == told["not_before"]
    start = ended(sandbox, number)["attempts"][0]["started_at"]
    assert start >= told["at"]
    assert "has passed" in refused(sandbox, "submit", "--at", "2001-01-01 06:00", "--", "true")
    assert "run waits for the end on the spot" in refused(sandbox, "run", "--at", "+1h", "--", "true")


def test_limits(sandbox):
    told = sandbox.dir / "told"
    script = f"trap 'echo soft >>{told}' USR1; while :; do sleep 0.05; done"
    number = submit(sandbox, "--soft-time-limit", "300ms", "--soft-signal", "USR1", "--time-limit", "1s", "--",
                    "sh", "-c", script)
    done = ended(sandbox, number)
    assert done["state"] == "failed" and done["attempts"][0]["outcome"] == "timeout"
    assert done["attempts"][0]["signal"] == signal.SIGKILL
    assert (done["soft_limit_seconds"], done["time_limit_seconds"], done["soft_signal"]) == (0.3, 1, "SIGUSR1")
    assert told.read_text() == "soft\n"


def test_a_soft_limit_lets_it_end_well(sandbox):
    script = "trap 'echo saved; exit 0' TERM; while :; do sleep 0.05; done"
    number = submit(sandbox, "--soft-time-limit", "300ms", "--time-limit", "30s", "--", "sh", "-c", script)
    ended(sandbox, number)
    # dash tells of the sleep that the signal, which is for the whole group, ended too.
    assert sandbox.plimsoll("logs", number, check=0).stdout.endswith("saved\n")


# Tried again


def test_retries(sandbox):
    number = submit(sandbox, "--retries", "2", "--retry-delay", "100ms", "--", "false")
    done = ended(sandbox, number)
    assert done["state"] == "failed" and len(done["attempts"]) == 3
    assert (done["retries"], done["failures"], done["retry_delay_seconds"]) == (2, 2, 0.1)


def test_retry_by_hand(sandbox):
    door = sandbox.dir / "door"
    number = submit(sandbox, "--", "test", "-e", door)
    assert ended(sandbox, number)["state"] == "failed"
    door.touch()
    assert sandbox.plimsoll("retry", number, check=0).stdout == f"task {number} is queued again\n"
    done = ended(sandbox, number)
    assert done["state"] == "done" and len(done["attempts"]) == 2
    assert "done" in sandbox.plimsoll("retry", number, check=3).stderr


def test_retry_of_what_left_the_memory(sandbox):
    door = sandbox.dir / "door"
    rows = sandbox.file("rows.txt", "1\n2\n3\n")
    sandbox.plimsoll("batch", rows, "-y", "--cpu", "only", "--", "sh", "-c", f"[ $1 != 2 ] || [ -e {door} ]", "sh",
                     "{line}", check=1)
    alone = submit(sandbox, "--", "test", "-e", door)
    ended(sandbox, alone)
    sandbox.plimsoll("serve", "--stop", check=0)
    door.touch()
    told = sandbox.json("retry", "b1", alone)
    assert told["batches"][0]["total"] == 3 and [t["id"] for t in told["tasks"]] == [alone]
    assert ended(sandbox, alone)["state"] == "done"
    sandbox.plimsoll("wait", "b1", check=0)
    shown = sandbox.json("show", "b1")
    assert shown["batch"]["state"] == "done" and shown["batch"]["done"] == 3
    assert [len(t["attempts"]) for t in shown["tasks"]] == [1, 2, 1]


# Held


def test_hold_and_release(sandbox):
    held = submit(sandbox, "--hold", "--", "true")
    assert state(sandbox, held) == "held"
    assert sandbox.plimsoll("release", held, check=0).stdout == f"task {held} is released\n"
    assert ended(sandbox, held)["state"] == "done"
    sandbox.plimsoll("batch", "--array", "1-4", "--hold", "--cpu", "only", "--detach", "--", "true", check=0)
    first = held + 1
    assert sandbox.plimsoll("release", f"{first}-{first + 1}", check=0).stdout.count("is released") == 2
    assert sandbox.plimsoll("hold", "batch:1", check=0).stdout.startswith("batch b1: ")
    assert "2 tasks are released" in sandbox.plimsoll("release", "--batch", "1", check=0).stdout
    sandbox.plimsoll("wait", "b1", check=0)
    assert "name tasks" in refused(sandbox, "hold")
    assert "there is no task 99" in refused(sandbox, "hold", "99")
    assert "on the spot" in refused(sandbox, "run", "--hold", "--", "true")


def test_what_is_so_already_is_no_error(sandbox):
    number = submit(sandbox, "--hold", "--", "true")
    sandbox.plimsoll("hold", number, check=0)
    sandbox.plimsoll("release", number, check=0)


def test_priority(sandbox):
    sandbox.plimsoll("batch", "--array", "1-3", "--hold", "--cpu", "only", "--detach", "--", "true", check=0)
    assert sandbox.plimsoll("priority", "2", "-5", check=0).stdout == "task 2 has priority -5\n"
    assert sandbox.json("priority", "b1", "7")["id"] == 1
    assert [t["priority"] for t in sandbox.json("show", "b1")["tasks"]] == [7, 7, 7]
    assert "the last word is the new one" in refused(sandbox, "priority", "2", "high")
    assert "1001 is not between" in refused(sandbox, "priority", "2", "1001")


# Sweeps


def test_sweep(sandbox):
    made = sandbox.json("batch", "--sweep", "lr=1e-3,1e-4", "--sweep", "seed=0..2", "--cpu", "only", "--",
                        "echo", "{lr}", "{seed}")
    assert [t["name"] for t in made["tasks"]] == [f"lr={lr} seed={s}" for lr in ("1e-3", "1e-4") for s in range(3)]
    assert sandbox.plimsoll("logs", made["tasks"][5]["id"], check=0).stdout == "1e-4 2\n"
    assert "more than 200000 tasks" in refused(sandbox, "batch", "--sweep", "a=1..1000", "--sweep", "b=1..1000", "--",
                                               "true")


def test_dry_run_sends_nothing(sandbox):
    shown = sandbox.plimsoll("batch", "--array", "08-10", "--dry-run", "--", "echo", "{index}", check=0).stdout
    assert [line.split()[-1] for line in shown.strip().splitlines()[1:]] == ["08", "09", "10"]
    assert not list(sandbox.dir.glob("run/plimsoll/api.sock"))


def test_ranges(sandbox):
    sandbox.plimsoll("batch", "--array", "1-5", "--hold", "--cpu", "only", "--detach", "--", "true", check=0)
    assert len(sandbox.json("cancel", "2-4")["tasks"]) == 3
    sandbox.plimsoll("release", "1-5", check=3)  # three of them cannot be
    states = [t["state"] for t in sandbox.json("wait", "1-5", check=1)["tasks"]]
    assert states == ["done", "canceled", "canceled", "canceled", "done"]


# GPUs


def gpu_of(box, *words):
    """The index of the GPU it ran on."""
    number = box.json("submit", *words, "--", "true")["id"]
    return ended(box, number)["attempts"][0]["gpus"][0]["index"]


def test_wishes(two_gpus):
    uuids = [gpu["uuid"] for gpu in two_gpus.json("gpus")["gpus"]]
    for wanted in (0, 1):
        assert gpu_of(two_gpus, "--prefer", f"{wanted},{1 - wanted}") == wanted
        assert gpu_of(two_gpus, "--avoid", 1 - wanted) == wanted
        assert gpu_of(two_gpus, "--forbid", uuids[1 - wanted]) == wanted
    assert gpu_of(two_gpus, "--model", "2080") == 1
    assert gpu_of(two_gpus, "--model", "A100,5070 ti") == 0
    assert gpu_of(two_gpus, "--compute-capability", "7.0-8.0") == 1
    assert gpu_of(two_gpus, "--compute-capability", "9") == 0
    request = two_gpus.json("submit", "--prefer", "1", "--forbid", "cuda:0", "--start-lock", "--stagger", "2s", "--",
                            "true")["request"]
    assert (request["prefer"], request["forbid"]) == ([uuids[1]], [uuids[0]])
    assert request["start_lock"] is True and request["stagger_seconds"] == 2
    assert "--prefer: there is no GPU" in refused(two_gpus, "submit", "--prefer", "7", "--", "true")
    assert "A100" in refused(two_gpus, "submit", "--model", "A100", "--", "true")


def test_stagger(two_gpus):
    numbers = [two_gpus.json("submit", "-d", "0", "--stagger", "500ms", "--", "true")["id"] for _ in range(2)]
    starts = [ended(two_gpus, n)["attempts"][0]["started_at"] for n in numbers]
    seconds = [float(s[17:-1]) for s in starts]
    assert (seconds[1] - seconds[0]) % 60 >= 0.5
