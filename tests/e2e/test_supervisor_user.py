"""Tasks as another user, at a terminal, under limits: what a root daemon asks of the supervisor."""

import errno
import fcntl
import os
import pty
import resource
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from supervisor_link import Supervisor, open_way, wait_until  # noqa: E402

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


@pytest.fixture
def open_folder(tmp_path):
    """A folder everybody can reach and write into."""
    open_way(tmp_path)
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def user(uid=NOBODY, gid=NOBODY, groups=(), **limits):
    return {"uid": uid, "gid": gid, "groups": list(groups), "limits": limits}


@needs_root
def test_it_runs_as_the_user_and_nothing_else_does(link, open_folder):
    log = open_folder / "log"
    script = ("import os, resource\n"
              "print(os.getresuid(), os.getresgid(), sorted(os.getgroups()))\n"
              "print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE))\n"
              "print([l.split()[1] for l in open('/proc/self/status') if l.startswith(('CapEff', 'CapPrm', 'CapAmb'))])\n"
              "for fd in sorted(os.listdir('/proc/self/fd'), key=int):\n"
              "    try: print(fd, os.readlink('/proc/self/fd/' + fd))\n"
              "    except FileNotFoundError: pass\n"
              "open('made', 'w')\n")
    link.start("1.1", "/usr/bin/python3", "-c", script, cwd=str(open_folder), log=str(log),
               user=user(NOBODY, 65533, [4, 24, 65533], nofile=[700, 900], core=[0, None]))
    assert link.wait("ended", "1.1")["exit_code"] == 0, log.read_text()
    lines = log.read_text().splitlines()
    own_core = resource.getrlimit(resource.RLIMIT_CORE)[1]
    assert lines[0] == f"{(NOBODY,) * 3} {(65533,) * 3} [4, 24, 65533]"
    assert lines[1] == f"(700, 900) {(0, own_core)}"
    assert lines[2] == str(["0" * 16] * 3)
    # Nothing is inherited but the three: what follows is the folder being listed, gone by now.
    assert lines[3:] == ["0 /dev/null", f"1 {log}", f"2 {log}"]
    assert (log.stat().st_uid, log.stat().st_gid) == (NOBODY, 65533)
    assert (open_folder / "made").stat().st_uid == NOBODY


@needs_root
def test_without_groups_there_are_none(link, open_folder):
    log = open_folder / "log"
    link.start("1.1", "id", "-G", log=str(log), user={"uid": NOBODY, "gid": NOBODY})
    assert link.wait("ended", "1.1")["exit_code"] == 0
    assert log.read_text().split() == [str(NOBODY)]


@needs_root
def test_a_limit_is_never_raised(tmp_path, open_folder):
    """Above the supervisor's own hard limit, and a soft one above its hard one."""
    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 600))

    one = Supervisor(tmp_path).spawn(preexec_fn=lower)
    try:
        link, log = one.link(), open_folder / "log"
        link.start("1.1", "sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc", log=str(log),
                   user=user(nofile=[5000, None], core=[4096, 1024]))
        assert link.wait("ended", "1.1")["exit_code"] == 0
        assert log.read_text().split()[:2] == ["600", "600"]
        assert log.read_text().split()[2] == log.read_text().split()[3]
        link.start("2.1", "sh", "-c", "ulimit -Sn; ulimit -Hn", log=str(open_folder / "own"))
        link.wait("ended", "2.1")
        assert (open_folder / "own").read_text().split() == ["512", "600"]
    finally:
        one.finish()


@needs_root
def test_what_the_user_may_not_do_fails(link, tmp_path, open_folder):
    """Folder, log, program and PATH are the user's business, done with his rights."""
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o700)
    (secret / "file").write_text("of root")
    (secret / "program").write_text("#!/bin/sh\n")
    (secret / "program").chmod(0o755)
    me = user()
    cases = {
        "1.1": (dict(cwd=str(secret)), "cannot enter the folder"),
        "2.1": (dict(log=str(secret / "log")), "cannot write its log"),
        "3.1": (dict(log=str(secret / "file")), "cannot write its log"),
        "4.1": (dict(argv=[str(secret / "program")]), "may not be executed"),
        "5.1": (dict(argv=["program"], env=[f"PATH={secret}"]), "cannot run program"),
        "6.1": (dict(nice=-5), "nice -5"),
    }
    for attempt, (change, text) in cases.items():
        link.start(attempt, *change.pop("argv", ["true"]), user=me, **change)
        failed = link.wait("failed", attempt)
        assert text in failed["text"] and failed["transient"] is False, (attempt, failed)
    assert (secret / "file").read_text() == "of root" and not (secret / "log").exists()


@needs_root
def test_root_writes_into_no_file_of_the_users_choice(supervisor, link, tmp_path, open_folder):
    """log_owner supervisor is for the supervisor's own folder, without links and second names."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    logs = supervisor.state / "logs"
    logs.mkdir()
    (logs / "link").symlink_to(victim)
    (logs / "folder").symlink_to(open_folder)
    os.link(victim, logs / "second")
    for i, path in enumerate([victim, open_folder / "log", logs / "link", logs / "folder" / "log", logs / "second",
                              f"{logs}/../../victim", f"{supervisor.state}x"]):
        link.start(f"{i}.1", "echo", "overwritten", log=str(path), log_owner="supervisor", user=user())
        assert "cannot write its log" in link.wait("failed", f"{i}.1")["text"], path
    assert victim.read_text() == "precious" and victim.stat().st_uid == 0
    assert not (open_folder / "log").exists()


@pytest.mark.parametrize("more", [{}, pytest.param({"user": "nobody"}, marks=needs_root)])
def test_a_private_log_whose_folder_has_gone(supervisor, link, tmp_path, more):
    """The daemon made it, and something removed it meanwhile: to be asked again, which makes it again."""
    more = {"user": user()} if more else {}
    link.start("1.1", "true", log=str(supervisor.state / "logs" / "1.1.log"), log_owner="supervisor", **more)
    failed = link.wait("failed", "1.1")
    assert (failed["errno"], failed["transient"], failed["as_task"]) == (errno.ENOENT, True, False)
    link.start("2.1", "true", log=str(tmp_path / "none" / "log"), **more)
    failed = link.wait("failed", "2.1")
    assert (failed["errno"] in (errno.ENOENT, errno.EACCES), failed["transient"], failed["as_task"]) == (True, False, True)


@needs_root
def test_a_private_log_belongs_to_the_user(supervisor, link):
    """He may open /dev/stdout anew, though he cannot reach the folder; its cap is kept."""
    log = supervisor.state / "logs" / "1.1.log"
    log.parent.mkdir(mode=0o700)
    cap = 1 << 16
    link.start("1.1", "sh", "-c", "echo one; echo two >>/dev/stderr; echo three >>/proc/self/fd/1; "
               "head -c 3000000 /dev/zero; echo last", log=str(log), log_owner="supervisor", log_cap_bytes=cap,
               user=user())
    assert link.wait("ended", "1.1")["exit_code"] == 0
    data = log.read_bytes()
    assert data.startswith(b"one\ntwo\nthree\n") and data.endswith(b"last\n")
    assert (log.stat().st_uid, log.stat().st_mode & 0o777) == (NOBODY, 0o600)
    assert log.stat().st_blocks * 512 <= cap + 8192


@needs_root
def test_a_log_that_was_swapped_is_not_cut(link, tmp_path, open_folder):
    """The user puts another's big file where his log was: the cap must not cut a hole into it."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"x" * (1 << 20))
    swap, log = open_folder / "d", open_folder / "d" / "log"
    swap.mkdir()
    swap.chmod(0o777)
    (tmp_path / "log").write_bytes(b"x" * (1 << 20))
    link.start("1.1", "sh", "-c", f"mv {swap} {swap}.old && ln -s {tmp_path} {swap} && sleep 0.4", log=str(log),
               log_cap_bytes=1 << 16, user=user())
    assert link.wait("ended", "1.1")["exit_code"] == 0
    assert (tmp_path / "log").read_bytes() == b"x" * (1 << 20)


@needs_root
def test_only_root_starts_for_others(tmp_path, open_folder):
    folder = open_folder / "s"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    one = Supervisor(folder).spawn(user=NOBODY, group=NOBODY, extra_groups=[])
    try:
        link, log = one.link(), open_folder / "log"
        link.start("1.1", "true", user=user(0, 0))
        failed = link.wait("failed", "1.1")
        assert "the daemon is not root" in failed["text"] and failed["transient"] is False
        link.start("2.1", "sh", "-c", "id -u; ulimit -Hn", log=str(log), user=user(nofile=[100, 200]))
        assert link.wait("ended", "2.1")["exit_code"] == 0
        assert log.read_text().split() == [str(NOBODY), "200"]
    finally:
        one.finish()


@pytest.mark.parametrize("more", [
    {"user": {}}, {"user": {"uid": 1}}, {"user": {"gid": 1}}, {"user": 7}, {"user": {"uid": -1, "gid": 1}},
    {"user": {"uid": 4294967295, "gid": 1}}, {"user": {"uid": 1, "gid": 4294967295}},
    {"user": {"uid": 1, "gid": 1, "groups": 5}}, {"user": {"uid": 1, "gid": 1, "groups": [-1]}},
    {"user": {"uid": 1, "gid": 1, "groups": ["x"]}}, {"user": {"uid": "1", "gid": 1}},
    {"user": user(nofiles=[1, 2])}, {"user": user(nofile=[1])}, {"user": user(nofile=[-1, 5])},
    {"user": user(nofile=5)}, {"user": {"uid": 1, "gid": 1, "limits": []}},
    {"tty": "pts/1"}, {"tty": "/etc/passwd"}, {"tty": "/dev/../etc/passwd"}, {"tty": 5},
    {"tty": "/dev/pts/0", "log": "/tmp/log"}, {"log_owner": "root"},
])
def test_what_is_no_user_is_refused(link, more):
    link.start("7.1", "true", **more)
    assert link.wait("error")["text"]
    assert link.list() == {}


class Terminal:
    def __init__(self):
        self.master, self.slave = pty.openpty()
        self.name = os.ttyname(self.slave)
        self.seen = b""

    def read_until(self, words):
        os.set_blocking(self.master, False)

        def more():
            try:
                self.seen += os.read(self.master, 4096)
            except BlockingIOError:
                pass
            return words in self.seen
        wait_until(more, f"{words!r} on the terminal")

    def hang_up(self):
        os.close(self.slave)
        os.close(self.master)


def test_a_terminal_of_its_own(link):
    """All three are the terminal, it is the controlling one, and Ctrl-C reaches the task."""
    terminal = Terminal()
    link.start("1.1", "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && tty; ps -o tty=,sid=,tpgid= -p $$; "
               "read line; echo got $line; trap 'echo stopped; exit 5' INT; echo ready; while :; do sleep 0.05; done",
               tty=terminal.name)
    pid = link.wait("started", "1.1")["pid"]
    os.write(terminal.master, b"a word\n")
    terminal.read_until(b"got a word")
    terminal.read_until(b"ready")
    lines = terminal.seen.decode().split("\r\n")
    assert terminal.name in lines
    assert any(line.split() == [terminal.name[5:], str(pid), str(pid)] for line in lines), lines
    os.write(terminal.master, b"\x03")
    assert link.wait("ended", "1.1")["exit_code"] == 5
    terminal.read_until(b"stopped")
    terminal.hang_up()


def test_a_terminal_that_goes_away_hangs_up(link):
    terminal = Terminal()
    link.start("1.1", "sh", "-c", "echo here; sleep 60", tty=terminal.name)
    terminal.read_until(b"here")
    terminal.hang_up()
    assert link.wait("ended", "1.1")["signal"] == signal.SIGHUP


@needs_root
def test_a_terminal_is_opened_as_the_user(link):
    terminal = Terminal()
    os.chmod(terminal.name, 0o600)
    link.start("1.1", "tty", tty=terminal.name, user=user())
    failed = link.wait("failed", "1.1")
    assert f"cannot open its terminal {terminal.name}: Permission denied" in failed["text"]
    os.chown(terminal.name, NOBODY, -1)
    link.start("2.1", "tty", tty=terminal.name, user=user())
    assert link.wait("ended", "2.1")["exit_code"] == 0
    terminal.read_until(terminal.name.encode())
    terminal.hang_up()


def test_a_terminal_of_somebody_else(link):
    terminal = Terminal()

    def take():
        os.setsid()
        fcntl.ioctl(terminal.slave, termios.TIOCSCTTY, 0)

    holder = subprocess.Popen(["sleep", "60"], preexec_fn=take)
    try:
        link.start("1.1", "true", tty=terminal.name)
        assert "terminal of another session" in link.wait("failed", "1.1")["text"]
        link.start("2.1", "true", tty="/dev/null")
        assert "cannot open its terminal /dev/null" in link.wait("failed", "2.1")["text"]
        link.start("3.1", "true", tty="/dev/pts/99999")
        assert "cannot open its terminal /dev/pts/99999: No such file" in link.wait("failed", "3.1")["text"]
    finally:
        holder.kill()
        holder.wait()
        terminal.hang_up()
