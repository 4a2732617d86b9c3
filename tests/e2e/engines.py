"""Real container engines for a test: dockerd and podman, each with all it has in a folder of the test's own.

    with Dockerd() as engine:        # or Podman()
        engine.compose(folder, "up", "-d")

No image is fetched: `image()` makes one of busybox and plimsoll-simtask. The engines run beside those of the machine: no
bridge, no iptables, storage, sockets and names of their own; what they leave in shared places (CDI specifications, network
namespaces) has the test's pid in its name and is removed. `forbidden()` and `missing()` say why none
can be had here, or nothing.
"""

import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile

from conftest import BUILD, PATIENCE, wait_until

CDI_DIR = pathlib.Path("/var/run/cdi")
CDI_ANY = (pathlib.Path("/etc/cdi"), CDI_DIR)


def forbidden():
    """Why nobody may run containers here; None: we may."""
    if os.geteuid() != 0:
        return "container engines need root here"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True)
    return f"no right to make namespaces: {tried.stderr.strip()}" if tried.returncode else None


def missing(*programs):
    """What has to be installed before containers can run here; None: nothing."""
    lacking = [name for name in ("ip", "nsenter", "busybox", *programs) if not shutil.which(name)]
    if lacking:
        return f"not installed: {', '.join(lacking)} (tools/deps.sh test)"
    return None


def image(folder):
    """A root folder as a tar file: busybox, plimsoll-simtask and the libraries it is linked to."""
    root, tar = folder / "image", folder / "image.tar"
    for name in ("bin", "proc", "sys", "dev", "tmp", "run", "etc"):
        (root / name).mkdir(parents=True)
    busybox = root / "bin/busybox"
    shutil.copy(shutil.which("busybox"), busybox)
    for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    shutil.copy(BUILD / "plimsoll-simtask", root / "bin")
    linked = subprocess.run(["ldd", BUILD / "plimsoll-simtask"], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+) \(0x", linked):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    with tarfile.open(tar, "w") as file:
        file.add(root, ".")
    return tar


class Engine:
    kind = None

    def __init__(self, env=os.environ):
        # A short path: sockets have 107 bytes for it.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"plimsoll-{self.kind}-", dir="/tmp"))
        self.bin = self.dir / "bin"
        self.bin.mkdir()
        self.socket = self.dir / "e.sock"
        # What makes a program use this one and no other engine of the machine.
        self.settings = {"PATH": f"{self.bin}:{env['PATH']}", "DOCKER_HOST": f"unix://{self.socket}"}
        self.env = {"HOME": str(self.dir), "TMPDIR": str(self.dir), "LC_ALL": "C.UTF-8", **self.settings}
        self.daemon = None
        # One at a time on a machine, whoever's tests they are: CDI specifications of the same names contradict each other.
        self.turn = open(f"/tmp/plimsoll-{self.kind}.lock", "w")

    def __enter__(self):
        try:
            fcntl.flock(self.turn, fcntl.LOCK_EX)
            self.up()
            wait_until(self.answers, what=f"{self.kind} to answer")
            self.import_image(image(self.dir))
        except BaseException:
            self.__exit__()
            raise
        return self

    def answers(self):
        if self.daemon.poll() is not None:
            raise RuntimeError(f"{self.kind} ended: {(self.dir / 'log').read_text()[-2000:]}")
        return self.socket.exists() and self.curl("/_ping").returncode == 0

    def curl(self, path):
        return subprocess.run(
            ["curl", "-sf", "--max-time", "5", "--unix-socket", self.socket, f"http://engine{path}"],
            capture_output=True, text=True,
        )

    def program(self, name, text):
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *argv, check=0, **options):
        options.setdefault("env", self.env)
        done = subprocess.run(
            [str(word) for word in argv], capture_output=True, text=True, timeout=4 * PATIENCE,
            stdin=subprocess.DEVNULL, **options,
        )
        assert check is None or done.returncode == check, f"{argv}: {done.stdout}\n{done.stderr}"
        return done

    def start(self, argv, **options):
        self.daemon = subprocess.Popen(
            [str(word) for word in argv], stdout=(self.dir / "log").open("w"), stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, **options,
        )

    def compose(self, folder, *args, env={}, **options):
        return self.run(*self.compose_program, *args, cwd=folder, env={**self.env, **env}, **options)

    def inspect(self, name):
        answer = self.curl(f"/containers/{name}/json")
        return json.loads(answer.stdout) if answer.returncode == 0 else None

    def containers(self):
        """All of them and what they wrote, for a test that fails."""
        told = self.run(self.client, "ps", "-a", check=None).stdout
        for id in self.run(self.client, "ps", "-aq", check=None).stdout.split():
            logs = self.run(self.client, "logs", "--tail", "5", id, check=None)
            told += f"{id}: {logs.stdout}{logs.stderr}"
        return told

    def end_daemon(self):
        if not self.daemon:
            return
        self.daemon.terminate()
        try:
            self.daemon.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()

    def unmount(self):
        """Whatever is still mounted below our folder, the deepest first."""
        for _ in range(10):
            mounts = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
            ours = sorted((mount for mount in mounts if mount.startswith(f"{self.dir}/")), reverse=True)
            if not ours:
                return
            for mount in ours:
                subprocess.run(["umount", "-l", mount], capture_output=True)


class Dockerd(Engine):
    """dockerd, and docker-compose. Device requests are accepted: a program of the name of NVIDIA's hook stands in its PATH."""

    kind = "docker"
    image_name = "plimsoll-test:1"
    client = "docker"
    compose_program = ("docker-compose",)

    def up(self):
        self.netns = f"plimsoll-{os.getpid()}"
        self.program("nvidia-container-runtime-hook", "#!/bin/sh\ncat >/dev/null\n")
        subprocess.run(["ip", "netns", "add", self.netns], check=True)
        subprocess.run(["ip", "-n", self.netns, "link", "set", "lo", "up"], check=True)
        # Not `ip netns exec`, which mounts /sys anew, without cgroups.
        self.start(
            ["nsenter", f"--net=/run/netns/{self.netns}", "dockerd", "--data-root", self.dir / "data",
             "--exec-root", self.dir / "exec", "--pidfile", self.dir / "pid", "-H", f"unix://{self.socket}",
             "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=overlay2"],
            env=self.env,
        )

    def import_image(self, tar):
        self.run("docker", "import", "-c", "ENV PATH=/bin", tar, self.image_name)

    def remove_containers(self):
        ids = self.run("docker", "ps", "-aq", check=None).stdout.split()
        if ids:
            self.run("docker", "rm", "-f", *ids, check=None)

    def __exit__(self, *_):
        if self.daemon and self.daemon.poll() is None:
            self.remove_containers()
        self.end_daemon()
        self.unmount()
        shutil.rmtree(self.dir, ignore_errors=True)
        subprocess.run(["ip", "netns", "del", self.netns], capture_output=True)
        self.turn.close()


PODMAN_CONF = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "none"
default_sysctls = []
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_config_dir = "{dir}/net"
"""

# podman-compose 1.0.3 always asks for a network of its own, and knows no `pid: host`.
PODMAN_FOR_COMPOSE = """\
#!/bin/bash
[ "$1" = network ] && exit 0
words=()
while [ $# -gt 0 ]; do
	case "$1" in
	--net | --network-alias) shift 2 ;;
	run | create) words+=("$1" --pid=host) && shift ;;
	*) words+=("$1") && shift ;;
	esac
done
exec {bin}/podman "${{words[@]}}"
"""


class Podman(Engine):
    """podman with its API, and podman-compose. CDI: nvidia.com/gpu=0 and =1 are names that set NVIDIA_VISIBLE_DEVICES."""

    kind = "podman"
    image_name = "localhost/plimsoll-test:1"
    client = "podman"
    compose_program = ("podman-compose",)

    def up(self):
        self.settings["CONTAINERS_CONF"] = self.env["CONTAINERS_CONF"] = str(self.dir / "containers.conf")
        (self.dir / "containers.conf").write_text(PODMAN_CONF.format(dir=self.dir))
        self.program(
            "podman",
            f"#!/bin/sh\nexec {shutil.which('podman')} --root {self.dir}/root --runroot {self.dir}/runroot"
            f' --tmpdir {self.dir}/tmp --storage-driver=overlay "$@"\n',
        )
        self.program("podman-for-compose", PODMAN_FOR_COMPOSE.format(bin=self.bin))
        self.program(
            "podman-compose",
            f'#!/bin/sh\nexec {shutil.which("podman-compose")} --podman-path {self.bin}/podman-for-compose "$@"\n',
        )
        self.write_cdi()
        self.start([self.bin / "podman", "system", "service", "--time=0", f"unix://{self.socket}"], env=self.env)

    def write_cdi(self):
        self.made_cdi_dir = not CDI_DIR.exists()
        CDI_DIR.mkdir(parents=True, exist_ok=True)
        self.cdi = CDI_DIR / f"plimsoll-test-{os.getpid()}.json"
        devices = [
            {"name": str(i), "containerEdits": {"env": [f"NVIDIA_VISIBLE_DEVICES={i}"]}} for i in range(2)
        ]
        self.cdi.write_text(json.dumps({"cdiVersion": "0.4.0", "kind": "nvidia.com/gpu", "devices": devices}))

    def import_image(self, tar):
        self.run("podman", "import", "-q", "--change", "ENV PATH=/bin", tar, self.image_name)

    def remove_containers(self):
        # Their locks are the machine's (/dev/shm/libpod_lock): removing the folder alone would leak them.
        self.run("podman", "rm", "-af", "-t", "0", check=None)

    def __exit__(self, *_):
        self.remove_containers()
        self.end_daemon()
        self.unmount()
        shutil.rmtree(self.dir, ignore_errors=True)
        self.cdi.unlink(missing_ok=True)
        if self.made_cdi_dir:
            try:
                CDI_DIR.rmdir()
            except OSError:
                pass
        self.turn.close()


def cdi_in_use():
    """Specifications of the machine's own that name NVIDIA's GPUs: ours would be in their way."""
    return [
        str(path) for folder in CDI_ANY if folder.is_dir() for path in folder.iterdir()
        if not path.name.startswith("plimsoll-test-") and "nvidia.com/gpu" in path.read_text(errors="replace")
    ]
