"""The supervisor over its socket: starts, ends, logs, groups, bad peers."""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from supervisor_link import BUILD, Supervisor, process_state, runs, wait_until  # noqa: E402


def test_true_is_started_and_ended(link):
    link.start("1.1", "true")
    started = link.wait("started", "1.1")
    ended = link.wait("ended", "1.1")
    assert started["pid"] > 1 and started["adopted"] is False
    assert ended["exit_code"] == 0
    assert ended["peak_ram_bytes"] > 100_000
    assert ended["cpu_seconds"] >= 0
    assert ended["ended_at"] >= ended["started_at"] == started["started_at"]
    assert [e["event"] for e in link.of("1.1")] == ["started", "ended"]


def test_exit_code_and_signal_are_told_apart(link):
    link.start("1.1", "sh", "-c", "exit 137")
    link.start("2.1", "sh", "-c", "kill -9 $$")
    assert link.wait("ended", "1.1")["exit_code"] == 137
    two = link.wait("ended", "2.1")
    assert two["signal"] == 9 and "exit_code" not in two


def test_the_command_gets_what_was_asked(link, tmp_path):
    log, folder = tmp_path / "log", tmp_path / "work"
    folder.mkdir()
    script = ("pwd; umask; echo $WORD; echo err >&2; readlink /proc/self/fd/0; "
              "ls /proc/self/fd | wc -l; ps -o pid=,pgid=,sid= -p $$; grep -i sig[bi] /proc/self/status; env | wc -l")
    link.start("1.1", "sh", "-c", script, cwd=str(folder), umask=0o77, log=str(log),
               env=["PATH=/usr/bin:/bin", "WORD=Wörter"])
    pid = link.wait("started", "1.1")["pid"]
    assert link.wait("ended", "1.1")["exit_code"] == 0
    lines = log.read_text().splitlines()
    assert lines[:5] == [str(folder), "0077", "Wörter", "err", "/dev/null"]
    assert lines[5].strip() == "4"  # 0, 1, 2 and the folder ls reads: nothing inherited
    assert lines[6].split() == [str(pid)] * 3
    assert "SigBlk:\t0000000000000000" in lines and "SigIgn:\t0000000000000000" in lines
    assert oct(log.stat().st_mode & 0o777) == "0o600"


def ignore_everything():
    """In the child before exec: 32 and 33 too, which only the kernel can be asked for (signal.signal refuses)."""
    libc = ctypes.CDLL(None)
    for number in range(1, signal.NSIG):
        libc.syscall({"x86_64": 13, "aarch64": 134}[os.uname().machine], number, struct.pack("8L", 1, *[0] * 7), None, 8)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGUSR1})


def test_the_command_ignores_no_signal(tmp_path):
    """Though the supervisor was started under nohup, or as a background job of a shell."""
    supervisor = Supervisor(tmp_path).spawn(preexec_fn=ignore_everything)
    try:
        link, log = supervisor.link(), tmp_path / "log"
        link.start("1.1", "grep", "-i", "sig[bi]", "/proc/self/status", log=str(log))
        assert link.wait("ended", "1.1")["exit_code"] == 0
        assert log.read_text().split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]
    finally:
        supervisor.finish()


def test_bytes_that_are_no_text(link, tmp_path):
    log = tmp_path / "log"
    link.start("1.1", "printf", "%s", {"hex": "ff2fe9"}, log=str(log))
    assert link.wait("ended", "1.1")["exit_code"] == 0
    assert log.read_bytes() == b"\xff/\xe9"


@pytest.mark.parametrize("change, text", [
    ({"argv": ["no-such-command"]}, "command not found: no-such-command"),
    ({"argv": ["/no/such/command"]}, "command not found: /no/such/command"),
    ({"argv": ["/etc/passwd"]}, "may not be executed"),
    ({"cwd": "/no/such/folder"}, "cannot enter the folder /no/such/folder: No such file"),
    ({"log": "/no/such/folder/log"}, "cannot write its log /no/such/folder/log: No such file"),
    ({"log": "/proc/log"}, "cannot write its log /proc/log"),
])
def test_what_cannot_start_says_why(link, change, text):
    link.start("1.1", *change.pop("argv", ["true"]), **change)
    failed = link.wait("failed", "1.1")
    assert text in failed["text"] and failed["errno"] > 0
    link.start("2.1", "true")
    assert link.wait("ended", "2.1")["exit_code"] == 0
    assert [e["event"] for e in link.of("1.1")] == ["failed"]


def test_a_log_nobody_reads(link, tmp_path):
    """A pipe without a reader would be waited for; one with is as good as a file, and is not left non-blocking."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link.start("1.1", "true", log=str(pipe))
    assert "cannot write its log" in link.wait("failed", "1.1")["text"]
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    link.start("2.1", "grep", "-h", "flags", "/proc/self/fdinfo/0", "/proc/self/fdinfo/1", log=str(pipe))
    assert link.wait("ended", "2.1")["exit_code"] == 0
    flags = [int(line.split()[1], 8) for line in os.read(reader, 4096).decode().splitlines()]
    os.close(reader)
    assert len(flags) == 2 and not flags[1] & os.O_NONBLOCK and flags[1] & os.O_APPEND


def test_missing_interpreter(link, tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/no/such/shell\n")
    script.chmod(0o755)
    link.start("1.1", str(script))
    assert "interpreter" in link.wait("failed", "1.1")["text"]


def test_log_on_a_full_disk(link):
    link.start("1.1", "sh", "-c", "echo x || exit 7", log="/dev/full")
    assert link.wait("ended", "1.1")["exit_code"] == 7


def test_one_id_runs_once(link, tmp_path):
    count = tmp_path / "count"
    for _ in range(5):
        link.start("1.1", "sh", "-c", f"echo x >>{count}; sleep 0.3")
    link.wait("ended", "1.1")
    link.start("1.1", "sh", "-c", f"echo x >>{count}")
    link.until(lambda e: e["event"] == "ended")  # its state is the answer
    assert count.read_text() == "x\n"


def test_ends_are_told_again_until_acknowledged(supervisor, link):
    link.start("1.1", "sh", "-c", "exit 3")
    link.start("2.1", "no-such-command")
    link.wait("ended", "1.1")
    link.wait("failed", "2.1")
    link.close()
    second = supervisor.link()
    assert second.wait("ended", "1.1")["exit_code"] == 3
    assert "not found" in second.wait("failed", "2.1")["text"]
    second.send(op="ack", attempt="1.1")
    second.send(op="ack", attempt="2.1")
    second.list()
    assert supervisor.link().list() == {}


def test_ack_of_what_runs_changes_nothing(link):
    link.start("1.1", "sleep", "60")
    link.wait("started", "1.1")
    link.send(op="ack", attempt="1.1")
    assert link.list()["1.1"]["state"] == "running"


def test_a_signal_reaches_the_whole_group(link, tmp_path):
    pids = tmp_path / "pids"
    link.start("1.1", "sh", "-c", f"sleep 60 & echo $! >>{pids}; timeout 60 sleep 60 & echo $! >>{pids}; "
               f"echo $$ >>{pids}; wait")
    link.wait("started", "1.1")
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 3, "three pids")
    link.send(op="signal", attempt="1.1", signal=15)
    assert link.wait("ended", "1.1")["signal"] == 15
    for pid in pids.read_text().split():
        assert not runs(int(pid)), pid


def test_a_signal_for_nobody(link):
    link.send(op="signal", attempt="9.9", signal=9)
    link.start("1.1", "true")
    link.wait("ended", "1.1")
    link.send(op="signal", attempt="1.1", signal=9)
    assert set(link.list()) == {"1.1"}


def test_what_outlives_its_leader_is_ended(link, tmp_path):
    pids = tmp_path / "pids"
    # One in the leader's group, one in a group of its own in the same session.
    link.start("1.1", "sh", "-c", f"sleep 60 & echo $! >>{pids}; timeout 60 sleep 60 & echo $! >>{pids}; exit 4")
    ended = link.wait("ended", "1.1")
    assert ended["exit_code"] == 4 and ended["stragglers"] >= 2
    for pid in pids.read_text().split():
        assert not runs(int(pid)), pid


def test_orphan_in_a_group_of_its_own(link, tmp_path):
    """Its leader leaves before the sample that could have seen it: found as our own child."""
    pids = tmp_path / "pids"
    code = ("import os\n"
            "if os.fork() == 0:\n"
            "    os.setpgid(0, 0)\n"
            f"    open('{pids}', 'w').write(str(os.getpid()))\n"
            "    os.execvp('sleep', ['sleep', '60'])\n"
            "import time\n"
            f"while not os.path.exists('{pids}') or not open('{pids}').read(): time.sleep(0.01)\n")
    link.start("1.1", "/usr/bin/python3", "-c", code)
    assert link.wait("ended", "1.1")["stragglers"] == 1
    assert not runs(int(pids.read_text()))


def test_one_that_ignores_sigterm_is_killed(link, tmp_path):
    pid = tmp_path / "pid"
    link.start("1.1", "sh", "-c", f"sh -c 'trap \"\" TERM; echo $$ >{pid}; sleep 60; sleep 60' & "
               f"while [ ! -s {pid} ]; do sleep 0.05; done")
    ended = link.wait("ended", "1.1")
    assert ended["stragglers"] >= 1
    assert not runs(int(pid.read_text()))


def test_escaped_orphans_are_reaped(supervisor, link, tmp_path):
    pid = tmp_path / "pid"
    link.start("1.1", "sh", "-c", f"setsid sh -c 'echo $$ >{pid}; sleep 0.5' & "
               f"while [ ! -s {pid} ]; do sleep 0.05; done")
    assert link.wait("ended", "1.1")["exit_code"] == 0
    # A zombie would stay for as long as the supervisor lives.
    wait_until(lambda: process_state(int(pid.read_text())) is None, "the orphan is gone")


def test_peak_ram_is_of_the_whole_tree(link):
    hold = "b = bytearray(60 << 20); import time; time.sleep(2.5)"
    link.start("1.1", "sh", "-c", f"/usr/bin/python3 -c '{hold}' & /usr/bin/python3 -c '{hold}'; wait")
    assert 120 << 20 < link.wait("ended", "1.1")["peak_ram_bytes"] < 300 << 20


def test_usage_is_told_to_who_wants_it(supervisor):
    link = supervisor.link(usage=True)
    link.start("1.1", "sleep", "60")
    item = link.wait("usage")["attempts"][0]
    assert item["attempt"] == "1.1" and item["ram_bytes"] > 0 and item["processes"] == 1


def test_two_hundred_at_once(link, tmp_path):
    with (tmp_path / "gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        for i in range(200):
            link.start(f"{i}.1", "flock", "--shared", gate.name, "true")
        for i in range(200):
            assert link.wait("started", f"{i}.1")
        assert sum(a["state"] == "running" for a in link.list().values()) == 200
    for i in range(200):
        assert link.wait("ended", f"{i}.1")["exit_code"] == 0


def test_nothing_is_kept_of_two_thousand(supervisor, link):
    fds = len(os.listdir(f"/proc/{supervisor.process.pid}/fd"))
    for i in range(2000):
        link.start(f"{i}.1", "true")
    for i in range(2000):
        link.until(lambda e: e["event"] == "ended" and (link.send(op="ack", attempt=e["attempt"]) or True))
    assert link.list() == {}
    assert len(os.listdir(f"/proc/{supervisor.process.pid}/fd")) <= fds + 1


def test_a_log_that_grows_fast_is_cut_in_time(link, tmp_path):
    """300 MB in a burst, and a stream whose second would be far above the cap."""
    cap = 1 << 20
    burst, stream = tmp_path / "burst.log", tmp_path / "stream.log"
    link.start("1.1", "head", "-c", "300000000", "/dev/zero", log=str(burst), log_cap_bytes=cap)
    link.wait("ended", "1.1")
    assert burst.stat().st_size == 300000000 and burst.stat().st_blocks * 512 <= cap
    script = "for i in $(seq 100); do head -c 400000 /dev/zero; sleep 0.01; done"
    link.start("2.1", "sh", "-c", script, log=str(stream), log_cap_bytes=cap)
    most, size = 0, 0
    while size < 40000000:
        if stream.exists():
            most, size = max(most, stream.stat().st_blocks * 512), stream.stat().st_size
        time.sleep(0.005)
    link.wait("ended", "2.1")
    # A second of it is some 25 MB.
    assert most < cap + 12 * (1 << 20)
    assert stream.stat().st_blocks * 512 <= cap


def test_log_cap_keeps_head_and_tail(link, tmp_path):
    log = tmp_path / "log"
    link.start("1.1", "sh", "-c", "echo first; seq 1 300000; sleep 1.5; echo last", log=str(log),
               log_cap_bytes=1 << 18)
    assert link.wait("ended", "1.1")["exit_code"] == 0
    assert log.stat().st_blocks * 512 <= (1 << 18) + 8192
    data = log.read_bytes()
    assert data.startswith(b"first\n1\n2\n") and data.endswith(b"300000\nlast\n") and b"\0\0" in data


@pytest.mark.parametrize("garbage", [
    b"\n", b"nonsense\n", b"[]\n", b"{}\n", b'{"op": 1}\n', b'{"op": "dance"}\n', b'{"op": "start"}\n',
    b'{"op": "start", "attempt": "7.1", "argv": []}\n', b'{"op": "start", "attempt": "7.1", "argv": [1]}\n',
    b'{"op": "start", "attempt": "7.1", "argv": ["true"], "log": "relative"}\n',
    b'{"op": "start", "attempt": "7.1", "argv": ["true"], "nice": 99}\n',
    b'{"op": "signal", "attempt": "7.1", "signal": 0}\n', b'{"op": "signal", "attempt": "7.1", "signal": -9}\n',
    b'{"op": "ack", "attempt": "' + b"x" * 200 + b'"}\n', b"\x00\xff\xfe\n", b"{" * 5000 + b"\n",
])
def test_a_bad_line_is_answered_and_no_more(link, garbage):
    link.raw(garbage)
    assert link.wait("error")["text"]
    link.start("1.1", "true")
    assert link.wait("ended", "1.1")["exit_code"] == 0
    assert "7.1" not in link.list()


def test_a_megabyte_without_a_newline_costs_its_connection(supervisor, link):
    bad = supervisor.link()
    try:
        bad.raw(b"x" * (3 << 20))
    except (BrokenPipeError, ConnectionResetError):
        pass
    event = bad.read()
    assert event is None or "longer than" in event["text"]
    link.start("1.1", "true")
    assert link.wait("ended", "1.1")["exit_code"] == 0


def test_half_a_message_and_gone(supervisor, link):
    for cut in (1, 10, 40):
        half = supervisor.link(hello=False)
        half.raw(b'{"op": "start", "attempt": "5.1", "argv": ["true"]}\n'[:cut])
        half.close()
    link.start("1.1", "true")
    link.wait("ended", "1.1")
    assert set(link.list()) == {"1.1"}


def test_a_message_in_pieces(link):
    for byte in b'{"op": "start", "attempt": "1.1", "argv": ["true"], "env": ["PATH=/bin"]}\n':
        link.raw(bytes([byte]))
    assert link.wait("ended", "1.1")["exit_code"] == 0


def test_a_peer_that_does_not_read(supervisor, link):
    deaf = supervisor.link()
    link.start("1.1", "sleep", "60")
    link.wait("started", "1.1")
    deaf.sock.setblocking(False)
    line = b'{"op": "list"}\n' * 4096
    with pytest.raises(OSError) as caught:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                deaf.sock.send(line)
            except BlockingIOError:
                time.sleep(0.001)
    assert caught.type in (BrokenPipeError, ConnectionResetError)
    assert link.list()["1.1"]["state"] == "running"
    rss = int(Path(f"/proc/{supervisor.process.pid}/statm").read_text().split()[1]) * 4096
    # A sanitizer keeps what is freed for a while.
    assert rss < (1000 if "asan" in BUILD.name else 100) << 20


def test_too_many_connections(supervisor, link):
    crowd = []
    for _ in range(100):
        one = socket.socket(socket.AF_UNIX)
        one.connect(str(supervisor.socket))
        crowd.append(one)
    link.start("1.1", "true")
    assert link.wait("ended", "1.1")["exit_code"] == 0
    for one in crowd:
        one.close()
    wait_until(supervisor.answers, "new connections are taken again")
    assert wait_until(lambda: supervisor.link().list(), "a hello is answered")


def test_quit_waits_for_what_runs(supervisor, link):
    link.start("1.1", "sleep", "0.5")
    link.wait("started", "1.1")
    link.send(op="quit")
    assert link.wait("quitting")["running"] == 1
    link.wait("ended", "1.1")
    assert supervisor.process.poll() is None
    link.send(op="ack", attempt="1.1")
    assert supervisor.process.wait(20) == 0
    assert not supervisor.socket.exists()


def test_it_leaves_when_nobody_needs_it(tmp_path):
    one = Supervisor(tmp_path).spawn("--idle-exit", "300ms")
    link = one.link()
    link.start("1.1", "sleep", "0.6")
    link.wait("started", "1.1")
    link.close()
    time.sleep(0.45)  # longer than its patience, but something runs
    assert one.process.poll() is None
    assert one.process.wait(20) == 0
    # What ended meanwhile is told by the next one.
    again = Supervisor(tmp_path).spawn()
    assert again.link().wait("ended", "1.1")["exit_code"] == 0
    again.finish()


def test_the_socket_is_ones_own(supervisor):
    assert oct(supervisor.socket.stat().st_mode & 0o777) == "0o600"
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    os.chmod(supervisor.runtime.parent, 0o755)
    for folder in (supervisor.runtime, *supervisor.runtime.parents):
        if folder.stat().st_mode & 0o5 != 0o5 and str(folder) != "/":
            os.chmod(folder, folder.stat().st_mode | 0o55)
    os.chmod(supervisor.socket, 0o666)
    code = ("import socket, sys\ns = socket.socket(socket.AF_UNIX)\n"
            "try:\n"
            f"    s.connect({str(supervisor.socket)!r}); s.sendall(b'{{\"op\": \"list\"}}\\n')\n"
            "    sys.exit(10 if s.recv(100) else 11)\n"
            "except (BrokenPipeError, ConnectionResetError): sys.exit(11)\n")
    result = subprocess.run(["/usr/bin/python3", "-c", code], user=65534, group=65534, extra_groups=[])
    assert result.returncode == 11


def test_background_and_second_one(tmp_path):
    runtime, state = tmp_path / "r", tmp_path / "s"
    command = [BUILD / "plimsoll-supervisor", "--background", "--idle-exit", "200ms", "--runtime-dir", runtime,
               "--state-dir", state]
    assert subprocess.run(command, timeout=20).returncode == 0
    pid, start_time = (runtime / "supervisor.pid").read_text().split()
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    assert fields[19] == start_time and fields[3] == pid  # in a session of its own
    assert subprocess.run(command, timeout=20).returncode == 0
    assert (runtime / "supervisor.pid").read_text().split()[0] == pid
    wait_until(lambda: not runs(int(pid)), "it leaves when idle")


def test_bad_options_and_folders(tmp_path):
    program = BUILD / "plimsoll-supervisor"
    assert subprocess.run([program, "--nonsense"], capture_output=True).returncode == 2
    assert subprocess.run([program, "word"], capture_output=True).returncode == 2
    (tmp_path / "file").write_text("")
    result = subprocess.run([program, "--runtime-dir", tmp_path / "file", "--state-dir", tmp_path / "s"],
                            capture_output=True, text=True)
    assert result.returncode == 3 and str(tmp_path / "file") in result.stderr
    assert b"--idle-exit" in subprocess.run([program, "--help"], capture_output=True).stdout
