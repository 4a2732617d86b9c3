"""Black-box tests: the built binaries, each test in folders of its own, on simulated GPUs or on none.

    def test_it(two_gpus):
        two_gpus.plimsoll("run", "--vram", "2G", "--", "true", check=0)
        assert two_gpus.json("queue")["tasks"] == []

`sandbox` has no GPUs; `simulated(gpus="rtx-3090,small:8G:0.4")` or `simulated(scenario={...} or "yaml text")`
makes one that has; `two_gpus` is the pair of the stories (11.9 GB and 8 GB). Everything a test started is ended with
it, and a sanitizer's finding in any of it fails the test. Wait with `wait_until`, never by sleeping.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

# Also found when the tests on real GPUs load this file.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from supervisor_link import Supervisor  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("PLIMSOLL_BUILD", ROOT / "build")).resolve()
# A machine busy with other work, and sanitizers, make everything slower; a test that hangs still ends.
PATIENCE = float(os.environ.get("PLIMSOLL_TEST_PATIENCE", "30"))
SANITIZED = "asan" in BUILD.name


# Files that take long, the longest first (of both builds: --durations): begun last, one of them would hold up the end.
LONG = """engines conformance supervisor_crash faults usage batch hostile apply_up compose_config overrun supervisor daemon_crash
compose_hostile docs daemon chaos profile s5 sim users holders api""".split()


def pytest_collection_modifyitems(items):
    rank = {f"test_{name}.py": at for at, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONG)))


def wait_until(condition, timeout=PATIENCE, what="the condition"):
    """The first true value of condition(); fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout:g} s for {what}", pytrace=True)
        time.sleep(0.02)


class Sandbox:
    """Folders, environment and processes of one test."""

    def __init__(self):
        # Not pytest's tmp_path: with a long test name a socket in it exceeds the 107 bytes of a socket path.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="plimsoll-", dir="/tmp"))
        self.build = BUILD
        self.started = []
        for name in ("run", "state", "config", "home"):
            (self.dir / name).mkdir(mode=0o700)
        self.env = {
            "PATH": f"{BUILD}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "HOME": str(self.dir / "home"),
            "XDG_RUNTIME_DIR": str(self.dir / "run"),
            "XDG_STATE_HOME": str(self.dir / "state"),
            "XDG_CONFIG_HOME": str(self.dir / "config"),
            # A daemon for the whole machine of the one that runs the tests is not theirs.
            "PLIMSOLL_SYSTEM_RUNTIME_DIR": str(self.dir / "system" / "run"),
            "PLIMSOLL_SYSTEM_STATE_DIR": str(self.dir / "system" / "state"),
            "TMPDIR": str(self.dir),
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
            "NO_COLOR": "1",
            "ASAN_OPTIONS": f"detect_leaks=1:exitcode=99:log_path={self.dir}/sanitizer",
            "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:exitcode=99:log_path={self.dir}/sanitizer",
        }

    # Running things

    def run(self, *argv, check=None, timeout=2 * PATIENCE, **options):
        """Run to the end; `check` is the exit status expected. Output is text."""
        env = {**self.env, **options.pop("env", {})}
        options.setdefault("cwd", self.dir)
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(
            [str(word) for word in argv], env=env, capture_output=True, text=True, timeout=timeout, **options
        )
        if check is not None and done.returncode != check:
            shown = " ".join(map(str, argv))
            pytest.fail(f"`{shown}` ended with {done.returncode}, not {check}\n{done.stdout}\n{done.stderr}")
        return done

    def plimsoll(self, *args, **options):
        return self.run(BUILD / "plimsoll", *args, **options)

    def json(self, *args, check=0, **options):
        """What `plimsoll ARGS --json` prints, parsed. Options of ours stand before a `--`."""
        args = list(args)
        at = args.index("--") if "--" in args else len(args)
        args.insert(at, "--json")
        return json.loads(self.plimsoll(*args, check=check, **options).stdout)

    def start(self, *argv, **options):
        """A process in the background, ended with the test. Its output goes to pipes unless said otherwise."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        options.setdefault("cwd", self.dir)
        env = {**self.env, **options.pop("env", {})}
        process = subprocess.Popen([str(word) for word in argv], env=env, text=True, **options)
        self.started.append(process)
        return process

    def start_plimsoll(self, *args, **options):
        return self.start(BUILD / "plimsoll", *args, **options)

    def file(self, name, text):
        path = self.dir / name
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        return path

    def simulate(self, gpus=None, scenario=None, time_scale=None):
        """From here on everything run in this sandbox sees these simulated GPUs."""
        argv = [BUILD / "plimsoll", "sim"]
        if gpus:
            argv += ["--gpus", gpus]
        if scenario is not None:
            argv += ["--scenario", self.file("scenario.yaml", scenario)]
        if time_scale:
            argv += ["--time-scale", str(time_scale)]
        # A shell that tells its environment and then lives until its input closes: the simulation's life.
        keeper = self.start(*argv, "--", "sh", "-c", "env -0; exec cat >/dev/null", stdin=subprocess.PIPE)
        told = ""
        while not told.endswith("\0") or "PLIMSOLL_SIM_STATE=" not in told:
            piece = os.read(keeper.stdout.fileno(), 65536).decode()
            if not piece:
                pytest.fail(f"the simulator did not start: {keeper.stderr.read()}")
            told += piece
        for entry in filter(None, told.split("\0")):
            name, _, value = entry.partition("=")
            if name not in ("PWD", "OLDPWD", "SHLVL", "_"):
                self.env[name] = value
        return self

    # The end

    def processes(self):
        """Pids of all that runs with this sandbox's state folder in its environment."""
        marker = f"XDG_STATE_HOME={self.dir}/state".encode()
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if marker in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)
            except OSError:
                continue

    def close(self):
        for process in self.started:
            if process.poll() is None:
                process.terminate()
        # The daemon first, asked kindly, so that a sanitizer can tell its leaks; then whatever is left.
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + 5
            while pids := list(self.processes()):
                for pid in pids:
                    try:
                        os.kill(pid, number)
                    except ProcessLookupError:
                        pass
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
        for process in self.started:
            process.wait(timeout=PATIENCE)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    pipe.close()
        findings = [path.read_text() for path in self.dir.glob("sanitizer*")]
        shutil.rmtree(self.dir, ignore_errors=True)
        if findings:
            pytest.fail("a sanitizer found:\n" + "\n".join(findings), pytrace=False)


@pytest.fixture
def sandbox():
    box = Sandbox()
    yield box
    box.close()


@pytest.fixture
def simulated(sandbox):
    """A function: simulated(gpus=..., scenario=..., time_scale=...) gives the sandbox those GPUs."""
    return sandbox.simulate


@pytest.fixture
def two_gpus(simulated):
    """The two of story S2: an RTX 5070 Ti with 11.9 GB, an RTX 2080 SUPER with 8 GB."""
    return simulated(gpus="rtx-5070-ti,rtx-2080-super")


@pytest.fixture
def build():
    return BUILD


@pytest.fixture
def supervisor(tmp_path):
    """A supervisor alone, without a daemon."""
    one = Supervisor(tmp_path).spawn()
    yield one
    one.finish()


@pytest.fixture
def link(supervisor):
    """A connection to it that has said hello."""
    return supervisor.link()
