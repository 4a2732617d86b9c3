"""What needs a terminal: top, the progress line, the question after a failure. In tmux, whose screen is read."""

import re
import shutil
import time

import pytest
from conftest import wait_until

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Terminal:
    """A tmux server of its own, with one window that runs a command."""

    def __init__(self, box, command, columns, lines):
        self.box = box
        self.socket = box.dir / "tmux"
        box.file("command.sh", command)
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(lines), "sh command.sh; sleep 1000")

    def tmux(self, *args):
        return self.box.run("tmux", "-S", self.socket, *args, check=0, env={"NO_COLOR": ""}).stdout

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def wait(self, pattern):
        return wait_until(lambda: re.search(pattern, self.screen(), re.M), what=f"{pattern} on\n{self.screen()}")


@pytest.fixture
def terminal(sandbox):
    opened = []

    def open_one(command, columns=80, lines=24):
        opened.append(Terminal(sandbox, command, columns, lines))
        return opened[-1]

    yield open_one
    for one in opened:
        one.tmux("kill-server")


def submit(box, name, vram, *command):
    return box.json("submit", "--vram", vram, "--name", name, "--", *command)["id"]


@pytest.mark.parametrize("columns, lines", [(80, 24), (200, 50)])
def test_top_shows_gpus_and_tasks(two_gpus, terminal, columns, lines):
    submit(two_gpus, "resident", "9G", two_gpus.build / "plimsoll-simtask", "--vram", "9G", "--seconds", "1000")
    submit(two_gpus, "too late", "10G", "true")
    top = terminal("plimsoll top", columns, lines)
    top.wait(r"^ 0 RTX 5070 Ti .*\[#+\.*\|\.+\] *9\.0/11\.9G room 2\.3")
    top.wait(r"^ 1 RTX 2080 SUPER .*0\.0/8\.0G room 7\.6")
    top.wait(r"^ *1 +- +resident +running +0 +9 GiB")
    top.wait(r"^ *2 +- +too late +waiting +- +10 GiB +- +needs 10 GiB")
    top.wait(r"^plimsoll .* 1 running, 1 waiting")
    assert all(len(line) <= columns for line in top.screen().splitlines())


def test_top_keys(two_gpus, terminal):
    first = submit(two_gpus, "first", "1G", "sleep", "1000")
    second = submit(two_gpus, "second", "1G", "sleep", "1000")
    top = terminal("plimsoll top; echo ended with $?")
    top.wait(r"second +running")
    top.keys("?")
    top.wait(r"cancel the selected task")
    top.keys("x", "s")
    top.wait(r"sorted by id")
    top.keys("/", "seco", "Enter")
    wait_until(lambda: "first" not in top.screen())
    top.keys("Enter")
    top.wait(rf"^task {second}$")
    top.wait(r"command +sleep 1000")
    top.keys("x")
    top.wait(r'only "seco"')
    top.keys("k")
    top.wait(rf"cancel task {second}\? y/n")
    top.keys("y")
    top.wait(r"second +canceled")
    assert two_gpus.json("show", first)["state"] == "running"
    top.keys("q")
    top.wait(r"ended with 0")


@pytest.mark.parametrize("lines, shown", [(24, r"^     foreign kaldi 3\.0G$"), (40, r"^     foreign kaldi 3\.0G  pid \d+$")])
def test_top_names_who_else_is_on_a_gpu(simulated, terminal, lines, shown):
    simulated(gpus="rtx-5070-ti").plimsoll("sim", "inject", "gpu: 0, event: foreign, vram: 3G, name: kaldi", check=0)
    top = terminal("plimsoll top", 80, lines)
    top.wait(shown)
    assert re.search(r"^plimsoll " + time.strftime("%H:"), top.screen(), re.M)


def test_a_batch_that_waits_says_why_in_its_line(simulated, terminal):
    box = simulated(gpus="rtx-5070-ti")
    box.plimsoll("sim", "inject", "gpu: 0, event: foreign, vram: 9G, name: kaldi", check=0)
    box.file("rows.txt", "a\n")
    bar = terminal("plimsoll batch rows.txt --vram 5G -- true", 120)
    bar.wait(r"^nothing of it runs: needs 5 GiB")
    bar.wait(r"^\[\.+\] 0/1 done, 0 running, waits: needs 5 GiB")


def test_top_follows_the_terminals_size(two_gpus, terminal):
    top = terminal("plimsoll top")
    top.wait(r"^ 0 RTX 5070 Ti")
    top.tmux("resize-window", "-x", "160", "-y", "30")
    wait_until(lambda: any(len(line) > 120 for line in top.screen().splitlines()))
    top.tmux("resize-window", "-x", "40", "-y", "8")
    top.wait(r"^ 0 RTX 5070 Ti")
    assert all(len(line) <= 40 for line in top.screen().splitlines())


def test_top_says_when_there_is_no_gpu(sandbox, terminal):
    terminal("plimsoll top", 120).wait(r"GPUs: no-library")


def test_top_needs_a_terminal(sandbox):
    assert "needs a terminal" in sandbox.plimsoll("top", check=3).stderr


def test_a_failure_asks_on_a_terminal(sandbox, terminal):
    sandbox.file("rows.txt", "1\n2\n3\n4\n")
    batch = "plimsoll batch rows.txt -t 1 --cpu only -- sh -c 'echo working on {line}; test {line} = 1 -o {line} = 4'; echo ended with $?"
    ask = terminal(batch)
    ask.wait(r"^failed: row 2 \(exit 1\)")
    ask.wait(r"^ +working on 2$")
    ask.wait(r"2 of 4 are left to start\. \[c\]ontinue, continue with \[a\]ll, \[s\]top\?")
    ask.keys("x", "Enter", "c", "Enter")
    ask.wait(r"1 of 4 are left to start\.")
    ask.keys("s", "Enter")
    ask.wait(r"batch b1: 1 done, 2 failed, 1 canceled")
    ask.wait(r"ended with 1")


def test_all_asks_no_more(sandbox, terminal):
    sandbox.file("rows.txt", "1\n2\n3\n4\n")
    ask = terminal("plimsoll batch rows.txt -t 1 --cpu only -- false {line}; echo ended with $?")
    ask.wait(r"3 of 4 are left to start\.")
    ask.keys("a", "Enter")
    ask.wait(r"batch b1: 0 done, 4 failed")


def test_progress_on_a_terminal(sandbox, terminal):
    sandbox.file("rows.txt", "1\n2\n3\n")
    release = sandbox.dir / "release"
    bar = terminal(f"plimsoll batch rows.txt --cpu only -- sh -c 'test {{line}} = 1 || until [ -e {release} ]; do sleep 0.05; done'")
    bar.wait(r"^\[########\.+\] 1/3 done, 2 running")
    release.touch()
    bar.wait(r"batch b1: 3 done, 0 failed")
