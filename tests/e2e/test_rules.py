"""plimsoll.yaml, `gpus drain`, `queue pause`: what people say about their machine is kept to, told, and outlives the daemon."""

import os
import pathlib
import re
import signal
import time

from api_link import Daemon
from conftest import BUILD, wait_until

LONG = ("--", "sleep", "1000")


def configure(box, text):
    path = box.dir / "config/plimsoll/plimsoll.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def pid_file(box):
    return pathlib.Path(box.env["XDG_RUNTIME_DIR"]) / "plimsoll/daemon.pid"


def daemon_log(box):
    return (pathlib.Path(box.env["XDG_STATE_HOME"]) / "plimsoll/daemon.log").read_text()


def daemon_pid(box):
    return int(pid_file(box).read_text().split()[0])


def kill_daemon(box):
    pid = daemon_pid(box)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not pathlib.Path(f"/proc/{pid}/exe").exists(), what="the daemon's end")


def submit(box, *options, command=LONG):
    return box.json("submit", *options, *command)["id"]


def state(box, task):
    return box.json("show", task)["state"]


def reason(box, task):
    return box.json("why", task)["reason"]


def wait_state(box, task, wanted):
    wait_until(lambda: state(box, task) == wanted, what=f"task {task} {wanted}")


def gpu_of(box, task):
    return box.json("show", task)["attempts"][-1]["gpus"][0]["index"]


def test_the_display_card_keeps_its_reserve(two_gpus):
    configure(two_gpus, "gpus:\n  - {gpu: 0, reserve: 4GiB}\n  - {model: 2080, role: display}\n")
    two_gpus.plimsoll("queue", check=0)
    wait_until(lambda: two_gpus.json("gpus")["gpus"], what="the first sample")
    vram = [gpu["vram"] for gpu in two_gpus.json("gpus")["gpus"]]
    assert vram[0]["reserve_bytes"] == 4 << 30
    assert vram[1]["reserve_bytes"] == 1 << 30
    assert vram[0]["load_line_bytes"] == vram[0]["total_bytes"] - (4 << 30)
    refused = two_gpus.plimsoll("submit", "--vram", "9G", "--", "true")
    assert refused.returncode == 2 and "9 GiB" in refused.stderr
    # Without a daemon the same is told.
    two_gpus.plimsoll("serve", "--stop", check=0)
    wait_until(lambda: not pid_file(two_gpus).exists())
    assert [gpu["vram"]["reserve_bytes"] for gpu in two_gpus.json("gpus")["gpus"]] == [4 << 30, 1 << 30]


def test_small_tasks_only(two_gpus):
    configure(two_gpus, "gpus:\n  - {gpu: 0, task_vram_max: 2GiB, tasks_max: 1}\n")
    small = [submit(two_gpus, "--vram", "1G", "-d", "0") for _ in range(2)]
    wait_state(two_gpus, small[0], "running")
    assert state(two_gpus, small[1]) == "waiting" and "1 task" in reason(two_gpus, small[1])
    big = submit(two_gpus, "--vram", "3G")
    wait_state(two_gpus, big, "running")
    assert gpu_of(two_gpus, big) == 1
    refused = two_gpus.plimsoll("submit", "--vram", "3G", "-d", "0", "--", "true")
    assert refused.returncode == 2 and "2 GiB" in refused.stderr


def test_hours(two_gpus):
    now = time.localtime()
    closed = f"{(now.tm_hour + 2) % 24:02}:00-{(now.tm_hour + 3) % 24:02}:00"
    configure(two_gpus, f"gpus:\n  - {{gpu: 0, hours: '{closed}'}}\n  - {{gpu: 1, hours: 'mon-sun'}}\n")
    here, there = submit(two_gpus, "--vram", "1G", "-d", "0"), submit(two_gpus, "--vram", "1G")
    wait_state(two_gpus, there, "running")
    assert gpu_of(two_gpus, there) == 1
    assert state(two_gpus, here) == "waiting" and f"opens at {closed[:5]}" in reason(two_gpus, here)
    assert "opens at" in two_gpus.json("gpus")["gpus"][0]["closed"]
    assert two_gpus.json("gpus")["gpus"][1]["closed"] is None
    assert "CLOSED: nothing new starts here: closed at this hour" in two_gpus.plimsoll("gpus").stdout


def test_a_drained_gpu_gets_nothing_new(two_gpus):
    runs = submit(two_gpus, "--vram", "1G", "-d", "0")
    wait_state(two_gpus, runs, "running")
    two_gpus.plimsoll("gpus", "drain", "0", "--reason", "dust", check=0)
    told = two_gpus.plimsoll("gpus", "drain", "0", "--reason", "the fan is loud", check=0)
    assert "GPU 0 is drained" in told.stdout
    waits = submit(two_gpus, "--vram", "1G", "-d", "0")
    other = submit(two_gpus, "--vram", "1G")
    wait_state(two_gpus, other, "running")
    assert gpu_of(two_gpus, other) == 1
    assert "takes nothing new: drained since" in str(two_gpus.json("why", other))
    assert state(two_gpus, runs) == "running", "what runs goes on"
    kill_daemon(two_gpus)
    wait_until(lambda: "the fan is loud" in (reason(two_gpus, waits) or ""), what="the reason after a restart")
    assert re.search(r"drained since \w{3} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", two_gpus.json("gpus")["gpus"][0]["closed"])
    two_gpus.plimsoll("gpus", "resume", "0", check=0)
    wait_state(two_gpus, waits, "running")
    assert two_gpus.json("gpus")["gpus"][0]["closed"] is None


def inject(box, event):
    box.run(BUILD / "plimsoll-sim", "inject", event, check=0)


def test_a_drain_is_of_the_uuid_whatever_its_index(two_gpus):
    daemon = Daemon(two_gpus)
    gpus = lambda: [(gpu["uuid"], gpu["health"], gpu["closed"] is not None) for gpu in daemon.get("/v1/gpus")["gpus"]]  # noqa: E731
    drained = lambda: [(gpu["uuid"], gpu["index"]) for gpu in daemon.get("/v1/status")["rules"]["drained"]]  # noqa: E731
    first, second = (gpu[0] for gpu in gpus())
    two_gpus.plimsoll("gpus", "drain", "1", check=0)
    inject(two_gpus, "gpu: 0, event: lost, listing: renumber")
    wait_until(lambda: gpus() == [(second, "ok", True), (first, "lost", False)], what="the drained one as GPU 0")
    waits = submit(two_gpus, "--vram", "1G")
    assert state(two_gpus, waits) == "waiting" and "drained since" in reason(two_gpus, waits)
    assert drained() == [(second, 0)]
    inject(two_gpus, "gpu: 0, event: back")
    wait_state(two_gpus, waits, "running")
    assert gpu_of(two_gpus, waits) == 0 and gpus() == [(first, "ok", False), (second, "ok", True)]
    # Gone, it is drained still, and can be resumed by its UUID.
    inject(two_gpus, "gpu: 1, event: lost, listing: renumber")
    daemon.kill()
    daemon.start()
    assert gpus() == [(first, "ok", False)] and drained() == [(second, None)]
    two_gpus.plimsoll("gpus", "resume", second, check=0)
    assert drained() == []


def test_drain_with_odd_bodies(two_gpus):
    daemon = Daemon(two_gpus)
    for gpu in (None, 1, True, ["0"], "", " ", "\x1b[2J", "../0", "0\n", "-1", "99999999999999999999", "é\"}", "GPU-" + "x" * 9000):
        for action in ("drain", "resume"):
            status, answer = daemon.ask("POST", f"/v1/gpus/{action}", {"gpu": gpu})
            assert status in (400, 404), (gpu, status, answer)
    assert daemon.get("/v1/status")["rules"] == {"paused": None, "drained": []}


def test_off_stays_off_in_open_hours(two_gpus):
    configure(two_gpus, "gpus:\n  - {model: 2080, role: off}\n  - {gpu: 1, hours: 'mon-sun'}\n")
    two_gpus.plimsoll("queue", check=0)
    wait_until(lambda: two_gpus.json("gpus")["gpus"], what="the first sample")
    closed = [gpu["closed"] for gpu in two_gpus.json("gpus")["gpus"]]
    assert closed[0] is None and "switched off by" in closed[1] and ":2:5" in closed[1]


def test_drain_refuses_what_it_does_not_know(two_gpus):
    for words, status, told in (
        (("gpus", "drain", "7"), 2, "7"),
        (("gpus", "drain"), 2, "which GPU"),
        (("gpus", "drian", "0"), 2, "neither drain nor resume"),
        (("gpus", "resume", "0", "--reason", "x"), 2, "--reason is for drain"),
        (("queue", "stop"), 2, "none of pause, resume, users"),
        (("queue", "--reason", "x"), 2, "goes with pause"),
        (("gpus", "drain", "0", "--reason", "x" * 101), 2, "at most 100 bytes"),
    ):
        done = two_gpus.plimsoll(*words)
        assert done.returncode == status and told in done.stderr, (words, done.stderr)
    two_gpus.plimsoll("gpus", "resume", "0", check=0)


def test_a_paused_queue_starts_nothing(sandbox):
    runs = submit(sandbox, "--cpu", "only")
    wait_state(sandbox, runs, "running")
    paused = sandbox.json("queue", "pause", "--reason", "new power supply")
    assert paused["paused"]["reason"] == "new power supply" and paused["paused"]["since"].endswith("Z")
    again = sandbox.json("queue", "pause", "--reason", "new cooler")
    assert again["paused"] == {**paused["paused"], "reason": "new cooler"}, "since the first, for what was said last"
    assert sandbox.json("queue", "pause") == again
    sandbox.plimsoll("queue", "pause", "--reason", "new power supply", check=0)
    waits = submit(sandbox, "--cpu", "only", command=("--", "true"))
    assert "new power supply" in reason(sandbox, waits)
    assert "the queue is paused since" in sandbox.plimsoll("queue", check=0).stderr
    kill_daemon(sandbox)
    wait_until(lambda: "paused since" in (reason(sandbox, waits) or ""), what="the pause after a restart")
    assert state(sandbox, runs) == "running" and state(sandbox, waits) == "waiting"
    sandbox.plimsoll("queue", "resume", check=0)
    wait_state(sandbox, waits, "done")


def test_a_bad_configuration_is_refused_with_its_place(sandbox):
    path = configure(sandbox, "queue:\n  ageing: 1h\n  fairshare: 2h\n")
    done = sandbox.plimsoll("serve")
    assert done.returncode == 3 and f"{path}:3:3" in done.stderr and "fair_share" in done.stderr
    done = sandbox.plimsoll("queue")
    assert done.returncode == 3 and f"{path}:3:3" in done.stderr


def test_sighup_reads_it_again(two_gpus):
    two_gpus.plimsoll("queue", check=0)
    reserve = lambda: two_gpus.json("gpus")["gpus"][0]["vram"]["reserve_bytes"]  # noqa: E731
    before = reserve()
    path = configure(two_gpus, "gpus:\n  - {gpu: 0, reserve: 3GiB}\n")
    os.kill(daemon_pid(two_gpus), signal.SIGHUP)
    wait_until(lambda: reserve() == 3 << 30, what="the new reserve")
    path.write_text("gpus: nonsense\n")
    os.kill(daemon_pid(two_gpus), signal.SIGHUP)
    wait_until(lambda: "stays as it was" in daemon_log(two_gpus), what="the refusal in the log")
    assert reserve() == 3 << 30
    path.unlink()
    os.kill(daemon_pid(two_gpus), signal.SIGHUP)
    wait_until(lambda: reserve() == before, what="the default reserve")


def test_texts_of_out_of_memory_of_ones_own(two_gpus):
    def first_end():
        task = submit(two_gpus, "--vram", "1G", command=("--", "sh", "-c", "echo our arena wants 3 GiB; exit 1"))
        outcome = lambda: two_gpus.json("show", task)["attempts"][:1]  # noqa: E731
        wait_until(lambda: outcome() and outcome()[0]["outcome"], what="the end of the first attempt")
        return outcome()[0]["outcome"]

    assert first_end() == "error"
    path = configure(two_gpus, "oom:\n  patterns:\n    - {id: ours, kind: gpu, text: 'our arena wants {size}'}\n")
    os.kill(daemon_pid(two_gpus), signal.SIGHUP)
    wait_until(lambda: "was read again" in daemon_log(two_gpus), what="the configuration is read again")
    assert first_end() == "oom"
    path.write_text("oom: {patterns: [{id: ours, kind: vram, text: abc}]}\n")
    os.kill(daemon_pid(two_gpus), signal.SIGHUP)
    wait_until(lambda: f"{path}:1:35: `kind`" in daemon_log(two_gpus), what="the refusal with its place")
    assert first_end() == "oom"


def test_a_gpu_that_is_not_there_is_mentioned(two_gpus):
    configure(two_gpus, "gpus:\n  - {gpu: 5, reserve: 3GiB}\n")
    two_gpus.plimsoll("run", "--vram", "1G", "--", "true", check=0)
    assert 'plimsoll.yaml:2:5: there is no GPU "5" now' in daemon_log(two_gpus)


def test_limits_of_a_user(sandbox):
    configure(sandbox, f"users:\n  default: {{running_max: 1}}\n  {os.getuid()}: {{running_max: 2, queued_max: 3}}\n")
    tasks = [submit(sandbox, "--cpu", "only") for _ in range(3)]
    wait_until(lambda: [state(sandbox, t) for t in tasks] == ["running", "running", "waiting"], what="two to run")
    assert "2" in reason(sandbox, tasks[2]) and "limit" in reason(sandbox, tasks[2])
    refused = sandbox.plimsoll("submit", "--cpu", "only", *LONG)
    assert refused.returncode == 3 and "3" in refused.stderr
    sandbox.plimsoll("cancel", tasks[0], check=0)
    wait_state(sandbox, tasks[2], "running")


def test_who_had_how_much(two_gpus):
    task = submit(two_gpus, "--vram", "11G")
    wait_state(two_gpus, task, "running")
    me = wait_until(lambda: [u for u in two_gpus.json("queue", "users")["users"] if u["usage_gpu_seconds"] > 0])[0]
    assert (me["uid"], me["running"], me["queued"], me["usage_share_percent"]) == (os.getuid(), 1, 1, 100)
    assert "100%" in two_gpus.plimsoll("queue", "users", check=0).stdout
    kill_daemon(two_gpus)
    two_gpus.plimsoll("cancel", task, check=0)
