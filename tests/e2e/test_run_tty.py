"""run -t: the command on a terminal, and ours as it was afterwards, whatever happened."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

import pytest

from conftest import PATIENCE, wait_until


class Terminal:
    """A terminal whose user is this test."""

    def __init__(self, box, *words, size=(24, 80)):
        self.master, slave = pty.openpty()
        self.slave = slave
        self.resize(*size)
        self.before = termios.tcgetattr(slave)
        self.seen = ""
        self.process = box.start_plimsoll("run", *words, stdin=slave, stdout=slave, stderr=slave,
                                          preexec_fn=self.make_it_ours)

    def make_it_ours(self):
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds=0.02):
        while select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 65536).decode()
        return self.seen

    def expect(self, pattern):
        return wait_until(lambda: re.search(pattern, self.read()), what=f"{pattern} in {self.seen!r}")

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self, timeout=PATIENCE):
        """Its exit status; our terminal is as it was before."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            self.read()
            assert time.monotonic() < deadline, f"it does not end: {self.seen!r}"
        self.read()
        assert termios.tcgetattr(self.slave) == self.before
        return self.process.returncode

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def close(self):
        for fd in (self.master, self.slave):
            os.close(fd)


@pytest.fixture
def terminal(sandbox):
    made = []

    def make(*words, **options):
        made.append(Terminal(sandbox, *words, **options))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.close()


def test_typed_to_and_sized(terminal, sandbox):
    t = terminal("-t", "--cpu", "only", "--", "sh", "-c",
                 "tty; stty size; read x; echo got $x; trap 'stty size; exit 7' WINCH; while :; do sleep 0.05; done",
                 size=(31, 97))
    t.expect(r"/dev/pts/\d+\r\n31 97\r\n")
    wait_until(t.is_raw, what="raw mode")
    t.type("hello\r")
    t.expect("got hello")
    t.resize(40, 120)
    os.kill(t.process.pid, signal.SIGWINCH)
    t.expect(r"40 120\r\n")
    assert t.end() == 7
    told = sandbox.json("show", "1")
    assert re.fullmatch(r"/dev/pts/\d+", told["tty"]) and told["attempts"][0]["exit_code"] == 7


def test_what_is_typed_before_it_asks(terminal):
    """No prompt: it is known to run by its state, not by what it prints."""
    t = terminal("-t", "--cpu", "only", "--", "sh", "-c", "read x; echo got $x")
    wait_until(t.is_raw, what="raw mode")
    t.type("early\r")
    t.expect("got early")
    assert t.end() == 0


def test_keys_go_to_the_command(terminal):
    t = terminal("-t", "--cpu", "only", "--", "sh", "-c",
                 "trap 'echo no; exit 5' INT; echo up; while :; do sleep 0.05; done")
    t.expect("up")
    wait_until(t.is_raw, what="raw mode")
    t.type("\x03")
    t.expect("no")
    assert t.end() == 5


def test_ctrl_z_stops_what_no_shell_could_continue_not(terminal):
    """As the help says: it is no job of a shell's, and would never be continued."""
    t = terminal("-t", "--cpu", "only", "--", "sh", "-c", "echo up; read x; echo got $x")
    t.expect("up")
    wait_until(t.is_raw, what="raw mode")
    t.type("\x1a")
    t.type("on\r")
    t.expect("got on")
    assert t.end() == 0


def test_all_of_it_is_shown(terminal):
    """What was printed last is not lost at the end, however much it is."""
    t = terminal("-t", "--cpu", "only", "--", "sh", "-c", "seq 1 20000; echo last")
    assert t.end() == 0
    assert t.seen.count("\r\n") == 20001 and t.seen.endswith("20000\r\nlast\r\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_put_back_after_a_signal(terminal, sandbox, number):
    t = terminal("-t", "--cpu", "only", "--", "sh", "-c", "echo up; exec sleep 100")
    t.expect("up")
    wait_until(t.is_raw, what="raw mode")
    os.kill(t.process.pid, number)
    assert t.end() == 128 + number
    assert sandbox.json("show", "1")["state"] == "canceled"


def test_stopped_and_continued(terminal):
    """As a shell's job: while it is stopped the terminal is the shell's."""
    t = terminal("-t", "--cpu", "only", "--", "sh", "-c", "echo up; read x; echo got $x")
    t.expect("up")
    wait_until(t.is_raw, what="raw mode")
    os.kill(t.process.pid, signal.SIGTSTP)
    stat = f"/proc/{t.process.pid}/stat"
    wait_until(lambda: open(stat).read().rsplit(")", 1)[1].split()[0] == "T", what="it stops")
    assert termios.tcgetattr(t.slave) == t.before
    os.kill(t.process.pid, signal.SIGCONT)
    wait_until(t.is_raw, what="raw mode again")
    t.type("on\r")
    t.expect("got on")
    assert t.end() == 0


def test_ctrl_c_while_it_waits(terminal, sandbox):
    """Before the command runs the keys are still ours."""
    first = sandbox.json("submit", "--hold", "--cpu", "only", "--", "true")["id"]
    t = terminal("-t", "--cpu", "only", "--after", first, "--", "true")
    t.expect("waits")
    assert not t.is_raw()
    t.type("\x03")
    assert t.end() == 128 + signal.SIGINT
    assert sandbox.json("show", str(first + 1))["state"] == "canceled"


def test_the_daemon_goes_and_comes(terminal, sandbox):
    t = terminal("-t", "--cpu", "only", "--", "sh", "-c", "echo up; read x; echo got $x; exit 3")
    t.expect("up")
    pid = int((sandbox.dir / "run/plimsoll/daemon.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    t.type("on\r")
    t.expect("got on")
    assert t.end() == 3


def test_killed_it_takes_the_terminal_along(terminal, sandbox):
    t = terminal("-t", "--cpu", "only", "--", "sh", "-c", "echo up; exec sleep 100")
    t.expect("up")
    t.process.kill()
    done = wait_until(lambda: (told := sandbox.json("show", "1"))["state"] == "failed" and told, what="its end")
    assert done["attempts"][0]["signal"] == signal.SIGHUP


def test_without_a_terminal(sandbox):
    said = sandbox.plimsoll("run", "-t", "--cpu", "only", "--", "true", check=2).stderr
    assert "standard input is none" in said
