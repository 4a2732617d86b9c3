"""plimsoll apply, the files alone: S1's own as the story has it, twice; what it refuses; what it never does."""

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import termios

import pytest
from conftest import BUILD, PATIENCE, ROOT, wait_until

ENV = """\
GPU_AI_SERVICES=1
GPU_YOLO26=1     # 666 MiB on the RTX A400
GPU_CLIP=1       # 1.2 GiB on the RTX A400
GPU_ENRICHMENT=0 # 6 GiB on demand on the RTX A5500
"""


class Project:
    def __init__(self, box):
        self.box, self.dir = box, box.dir / "nem-3900"
        shutil.copytree(ROOT / "examples/nem-3900", self.dir)
        # No engine of this machine has a say.
        box.env["DOCKER_HOST"] = f"unix://{box.dir}/none.sock"

    def apply(self, *args, check=0, **options):
        return self.box.plimsoll("apply", "--inventory", "inventory.json", *args, cwd=self.dir, check=check, **options)

    def start(self, *args):
        return self.box.start_plimsoll("apply", "--inventory", "inventory.json", "--way-out", "1", "--yes", *args, cwd=self.dir)

    def files(self):
        return {path.name: path.read_bytes() for path in self.dir.iterdir()}

    def on_terminal(self, *args, columns=80):
        """Exit status, and what a terminal of this width gets."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(
            [BUILD / "plimsoll", "apply", "--inventory", "inventory.json", *map(str, args)], cwd=self.dir, env=self.box.env,
            stdin=follower, stdout=follower, stderr=follower,
        )
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                part = b""
            if not part:
                break
            shown += part
        os.close(leader)
        return process.wait(PATIENCE), shown


@pytest.fixture
def nem(sandbox):
    return Project(sandbox)


def test_the_story(nem):
    """Nothing fits as it is; with the heavy enrichment on demand .env and the wrong default are as the write-up has them."""
    before = nem.files()
    refused = nem.apply("--yes", check=1)
    assert "not everything fits" in refused.stderr and "28.51 GiB" in refused.stderr and refused.stdout == ""
    assert nem.files() == before

    done = nem.apply("--yes", "--way-out", 1)
    after = nem.files()
    assert after[".env"].decode().endswith(ENV), after[".env"].decode()
    assert b"device_ids: ['${GPU_ENRICHMENT:-0}']" in after["compose.yaml"]
    # One line of compose.yaml and three of .env; the rest byte for byte.
    for name, lines in (("compose.yaml", 1), (".env", 3)):
        old, new = before[name].splitlines(keepends=True), after[name].splitlines(keepends=True)
        assert len(old) == len(new) and sum(a != b for a, b in zip(old, new)) == lines
    # What was there before stays beside it.
    backups = {name.split(".plimsoll-")[0]: content for name, content in after.items() if ".plimsoll-" in name}
    assert backups == {".env": before[".env"], "compose.yaml": before["compose.yaml"]}
    assert not (nem.dir / ".plimsoll-apply").exists()
    assert "left to you: ai-enrichment has to load on demand" in done.stderr

    again = nem.apply("--yes", "--way-out", 1)
    assert "nothing to do" in again.stderr and again.stdout == ""
    assert nem.files() == after


def test_the_diff_is_a_patch(nem):
    before = nem.files()
    shown = nem.apply("--dry-run", "--way-out", 1).stdout
    assert nem.files() == before
    subprocess.run(["patch", "-p1", "--quiet"], input=shown, text=True, cwd=nem.dir, check=True)
    patched = {name: nem.files()[name] for name in (".env", "compose.yaml")}
    for name, content in before.items():
        (nem.dir / name).write_bytes(content)
    nem.apply("--yes", "--way-out", 1)
    assert {name: nem.files()[name] for name in patched} == patched


def test_it_asks(nem):
    before = nem.files()
    unasked = nem.apply("--way-out", 1, check=2)
    assert "--yes" in unasked.stderr
    # On a terminal: anything but y is no.
    for answer, code in (("\n", 1), ("n\n", 1), ("y\n", 0)):
        leader, follower = os.openpty()
        asked = subprocess.Popen(
            [BUILD / "plimsoll", "apply", "--inventory", "inventory.json", "--way-out", "1"], cwd=nem.dir, env=nem.box.env,
            stdin=follower, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        os.close(follower)
        os.write(leader, answer.encode())
        said = asked.communicate(timeout=60)[1]
        os.close(leader)
        assert "Write this? [y/N]" in said and asked.returncode == code, said
        assert (nem.files() == before) == (code == 1)


def test_as_json(nem):
    told = json.loads(nem.apply("--json", "--dry-run", "--way-out", 1).stdout)
    assert told["changed"] and not told["written"] and told["rollout"] is None
    assert [file["file"] for file in told["files"]] == [".env", "compose.yaml"]
    assert told["diff"].startswith("--- a/.env\n") and not told["plan"]["feasible"]
    told = json.loads(nem.apply("--json", "--yes", "--way-out", 1).stdout)
    assert told["written"] and all(file["backup"] for file in told["files"])
    told = json.loads(nem.apply("--json", "--yes", "--way-out", 1).stdout)
    assert not told["changed"] and told["diff"] == "" and told["files"] == []


def test_uuids(nem):
    nem.apply("--yes", "--way-out", 1, "--ids", "uuid")
    gpus = {gpu["index"]: gpu["uuid"] for gpu in json.loads((nem.dir / "inventory.json").read_text())["gpus"]}
    text = (nem.dir / ".env").read_text()
    assert f"GPU_CLIP={gpus[1]}" in text and f"GPU_ENRICHMENT={gpus[0]}" in text
    again = nem.apply("--yes", "--way-out", 1, "--ids", "uuid")
    assert "nothing to do" in again.stderr


def test_no_line_stays_commented_out(nem):
    """Whichever way is taken, every variable that puts a service on a GPU says so in .env, also of those that stay."""
    before = nem.files()
    for way in (1, 2, 3):
        nem.apply("--yes", "--way-out", way)
        assert "# GPU_" not in (nem.dir / ".env").read_text(), (nem.dir / ".env").read_text()
        assert "nothing to do" in nem.apply("--yes", "--way-out", way).stderr
        for name in ("compose.yaml", ".env"):
            (nem.dir / name).write_bytes(before[name])


@pytest.mark.parametrize(
    "args, code, told",
    [
        (["--up"], 2, "--up is for this machine"),
        (["--way-out", "99"], 2, "--way-out"),
        (["--way-out", "8"], 2, "ways out"),
        (["--health-timeout", "5s", "--way-out", "1"], 2, "--health-timeout goes with --up"),
        (["--ids", "name"], 2, "--ids"),
        (["-f", "gone.yaml"], 3, "gone.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage(nem, args, code, told):
    before = nem.files()
    assert told in nem.apply("--yes", *args, check=code).stderr
    assert nem.files() == before


def test_up_without_an_engine(simulated, nem):
    simulated(gpus="rtx-a5500,rtx-a400")
    before = nem.files()
    done = nem.box.plimsoll("apply", "--up", "--yes", "--way-out", "1", cwd=nem.dir, check=3)
    assert "no container engine" in done.stderr or "needs a container engine" in done.stderr
    assert nem.files() == before


def test_the_shell_in_the_way(nem):
    """A variable of the shell wins over every file: nothing is written that would do nothing."""
    before = nem.files()
    done = nem.apply("--yes", "--way-out", 1, check=3, env={"GPU_CLIP": "0"})
    assert "GPU_CLIP" in done.stderr and "shell" in done.stderr
    assert nem.files() == before


def test_an_apply_that_was_killed_is_told_of(nem):
    """Its journal names what it was doing; one that still runs is not disturbed."""
    journal = nem.dir / ".plimsoll-apply"
    told = {
        "version": 1, "pid": 2**22 + 1, "pid_start_time": 1, "started_at": "2026-11-21T10:00:00.000Z",
        "services": ["ai-clip"], "files": [{"file": "/x/.env", "backup": "/x/.env.plimsoll-1"}],
    }
    journal.write_text(json.dumps(told))
    done = nem.apply("--dry-run", "--way-out", 1)
    for words in ("did not come to its end", "/x/.env", "/x/.env.plimsoll-1", "ai-clip", str(journal)):
        assert words in done.stderr, done.stderr
    assert journal.exists()
    # A journal that is nobody's: told all the same, and no reason to fail.
    journal.write_text("{")
    assert "did not come to its end" in nem.apply("--dry-run", "--way-out", 1).stderr
    stat = open(f"/proc/{os.getpid()}/stat").read().rsplit(")", 1)[1].split()
    journal.write_text(json.dumps({**told, "pid": os.getpid(), "pid_start_time": int(stat[19])}))
    busy = nem.apply("--dry-run", "--way-out", 1, check=3)
    assert f"process {os.getpid()}" in busy.stderr


HALF_DONE = {
    "version": 1, "pid": 2**22 + 1, "pid_start_time": 1, "started_at": "2026-11-21T10:00:00.000Z",
    "services": [], "files": [{"file": "/x/.env", "backup": None}],
}


def test_two_at_once(nem):
    """One writes, the others wait and find nothing to do; nobody undoes what another has written."""
    old = nem.files()
    for _ in range(4):
        racers = [nem.start() for _ in range(3)]
        said = [racer.communicate(timeout=2 * PATIENCE)[1] for racer in racers]
        assert [racer.returncode for racer in racers] == [0, 0, 0], said
        assert sum("wrote .env" in text for text in said) == 1 and sum("nothing to do" in text for text in said) == 2, said
        assert (nem.dir / ".env").read_text().endswith(ENV)
        assert b"device_ids: ['${GPU_ENRICHMENT:-0}']" in nem.files()["compose.yaml"]
        assert not (nem.dir / ".plimsoll-apply").exists()
        for name in set(nem.files()):
            (nem.dir / name).unlink()
        for name, content in old.items():
            (nem.dir / name).write_bytes(content)


def test_what_came_while_it_waited_is_read(nem):
    """The lock is on the folder itself. Whoever had it may have changed the files: they are read again."""
    folder = os.open(nem.dir, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    waiting = nem.start()

    def has_opened():
        fds = f"/proc/{waiting.pid}/fd"
        return any(os.path.realpath(f"{fds}/{fd}") == str(nem.dir.resolve()) for fd in os.listdir(fds))

    wait_until(has_opened, what="the folder to be opened")
    path = nem.dir / ".env"
    path.write_text(path.read_text().replace("RELEASE=latest", "RELEASE=7"))
    os.close(folder)
    assert waiting.wait(PATIENCE) == 0, waiting.stderr.read()
    assert "RELEASE=7" in path.read_text() and path.read_text().endswith(ENV)


def test_another_that_does_not_end_is_named(nem):
    before = nem.files()
    folder = os.open(nem.dir, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    busy = nem.apply("--yes", "--way-out", 1, check=3)
    os.close(folder)
    assert "another apply of this project is under way" in busy.stderr and f"process {os.getpid()}" in busy.stderr
    assert nem.files() == before


def test_what_a_kill_left_is_finished(nem):
    """New .env, old compose.yaml: check and plan tell; apply completes the files, and then nothing is left of it."""
    old = nem.files()
    nem.apply("--yes", "--way-out", 1)
    new = {name: content for name, content in nem.files().items() if ".plimsoll-" not in name}
    (nem.dir / "compose.yaml").write_bytes(old["compose.yaml"])
    (nem.dir / ".plimsoll-apply").write_text(json.dumps(HALF_DONE))
    left = [".env.plimsoll~4194305.abc123", "compose.yaml.plimsoll~4194305.XyZ999", ".plimsoll-apply.plimsoll~4194305.Qq12Zz"]
    kept = [f".env.plimsoll~{os.getpid()}.abc123", ".env.plimsoll~x.abc123", ".env.plimsoll~4194305.abc1234", ".env.abc123",
            ".plimsoll-apply.backup", ".plimsoll-apply.Qq12Zz"]
    for name in left + kept:
        (nem.dir / name).write_text("POSTGRES_PASSWORD=x")
    for verb in ("check", "plan"):
        told = nem.box.plimsoll(verb, "--inventory", "inventory.json", cwd=nem.dir)
        shown = " ".join((told.stderr + told.stdout).split())
        assert "did not come to its end" in shown and "`plimsoll apply` finishes it" in shown, shown
    for name in left:
        assert (nem.dir / name).exists()
    done = nem.apply("--yes", "--way-out", 1)
    assert "did not come to its end" in done.stderr and "--up" not in done.stderr
    now = nem.files()
    assert not [name for name in left if name in now] and [name for name in kept if name in now] == kept
    assert ".plimsoll-apply" not in now
    assert {name: now[name] for name in new} == new
    # The files were complete already: it is gone all the same.
    (nem.dir / ".plimsoll-apply").write_text(json.dumps(HALF_DONE))
    assert "nothing to do" in nem.apply("--yes", "--way-out", 1).stderr
    assert not (nem.dir / ".plimsoll-apply").exists()
    # The command that finishes it comes to the same plan.
    options = ["--file", "a b.yaml", "--way-out", "1"]
    (nem.dir / ".plimsoll-apply").write_text(json.dumps({**HALF_DONE, "options": options}))
    told = nem.apply("--dry-run", "--way-out", 1).stderr
    assert "`plimsoll apply --file 'a b.yaml' --way-out 1` finishes it" in " ".join(told.split())
    # Containers that may not have been made anew stay said.
    (nem.dir / ".plimsoll-apply").write_text(json.dumps({**HALF_DONE, "services": ["ai-clip"]}))
    assert "apply --up` finishes it" in nem.apply("--yes", "--way-out", 1).stderr
    assert (nem.dir / ".plimsoll-apply").exists()


def test_what_may_not_be_replaced(nem):
    path = nem.dir / ".env"
    path.chmod(0o444)
    before = nem.files()
    refused = nem.apply("--yes", "--way-out", 1, check=3)
    assert ".env is read-only (mode 0444)" in refused.stderr and "chmod u+w .env" in refused.stderr
    assert nem.files() == before
    path.chmod(0o644)
    os.link(path, nem.box.dir / "other-name")
    refused = nem.apply("--yes", "--way-out", 1, check=3)
    assert "2 names (hard links)" in refused.stderr
    assert nem.files() == before and os.stat(path).st_nlink == 2
    # It is still shown what would be written.
    assert nem.apply("--dry-run", "--way-out", 1).stdout.startswith("--- a/.env")
    (nem.box.dir / "other-name").unlink()
    nem.apply("--yes", "--way-out", 1)


def test_the_key_to_write_is_named(nem):
    done = nem.apply("--dry-run", "--way-out", 1)
    lines = (nem.dir / "compose.yaml").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line == "      models:")  # the first key under x-plimsoll of ai-enrichment
    assert f"`on-demand: true` under x-plimsoll of ai-enrichment at compose.yaml:{at}" in done.stderr, done.stderr


def test_the_way_that_is_drawn(nem):
    refused = nem.apply(check=1)
    assert "Way 1 is drawn" in refused.stderr and "WAY 1" in refused.stderr, refused.stderr


def test_on_a_terminal(nem):
    """Nothing in a file writes over the screen; lines are broken at spaces. In a pipe the diff is byte for byte."""
    path = nem.dir / ".env"
    path.write_text(path.read_text().replace("# GPU_YOLO26", "NOTE=\"a\x1b[2J\x9b\u202eb\"\r\n# GPU_YOLO26"))
    code, shown = nem.on_terminal("--way-out", "1", "--dry-run")
    assert code == 0 and b"\x1b[2J" not in shown and "\u202e".encode() not in shown and "\x9b".encode() not in shown
    assert b'NOTE="a^[[2J\\x9b\\u202Eb"' in shown, shown
    told = [line for line in shown.decode().replace("\r", "").splitlines() if line.startswith("warning: ")]
    assert told and max(map(len, told)) <= 80
    raw = nem.apply("--way-out", 1, "--dry-run").stdout
    assert 'NOTE="a\x1b[2J\x9b\u202eb"' in raw


def small(sandbox, compose, env=None):
    """A project on 24 GiB beside 8 GiB."""
    sandbox.env["DOCKER_HOST"] = f"unix://{sandbox.dir}/none.sock"
    folder = sandbox.dir / "small"
    folder.mkdir(exist_ok=True)
    (folder / "compose.yaml").write_text(compose)
    if env is not None:
        (folder / ".env").write_text(env)
    inventory = sandbox.dir / "inventory.json"
    if not inventory.exists():
        gpus = [
            {"index": i, "uuid": f"GPU-{i}{i}{i}{i}0000-0000-4000-8000-000000000000", "name": name, "health": "ok",
             "vram": {"total_bytes": gib << 30, "used_bytes": 0, "free_bytes": gib << 30}, "holders": []}
            for i, (name, gib) in enumerate([("NVIDIA GeForce RTX 3090", 24), ("NVIDIA GeForce RTX 3070", 8)])
        ]
        inventory.write_text(json.dumps({"gpus": gpus}))
    return lambda *args, check=0, verb="apply", **options: sandbox.plimsoll(
        verb, "--inventory", inventory, *args, cwd=folder, check=check, **options
    )


def service(name, ids, vram, more=""):
    return f"""  {name}:
    image: a
    deploy:
{more}      resources:
        reservations:
          devices: [{{driver: nvidia, {ids}, capabilities: [gpu]}}]
    x-plimsoll: {{vram: {vram}}}
"""


BEHIND_ONE_ANCHOR = """
x-two: &two
  image: a
  deploy: &deploy
    resources:
      reservations:
        devices:
          - {driver: nvidia, device_ids: ['0'], capabilities: [gpu]}
          - {driver: nvidia, device_ids: ['1'], capabilities: [gpu]}
services:
  a:
    <<: *two
    x-plimsoll: {vram: 12G}
  b:
    <<: *two
    x-plimsoll: {vram: 12G}
  unknown: {<<: *two}
  off: {<<: *two, profiles: [off], x-plimsoll: {vram: 1G}}
  c: {image: a, deploy: {resources: {reservations: {devices: [{driver: nvidia, device_ids: ['2'], capabilities: [gpu]}]}}}, x-plimsoll: {vram: 5G}}
  d: {image: a, gpus: [{device_ids: ['${GPU_D:-3}']}], x-plimsoll: {vram: 3G}}
  e: {image: a, gpus: [{device_ids: ['${GPU_D:-3}']}]}
"""


@pytest.mark.parametrize("ids", ["index", "uuid"])
def test_nothing_else_moves(sandbox, ids):
    """Two behind one anchor with two requests, and one of them leaves: of every service, planned, unknown or off, it is looked
    at where it was and where it is."""
    gpus = [{"index": i, "uuid": f"GPU-{i}{i}{i}{i}0000-0000-4000-8000-000000000000", "name": "NVIDIA GeForce RTX 3090",
             "vram": {"total_bytes": 24 << 30, "used_bytes": 0}} for i in range(4)]
    sandbox.file("inventory.json", {"gpus": gpus})
    run = small(sandbox, BEHIND_ONE_ANCHOR, "GPU_D=3\n")

    def where():
        told = json.loads(run("--profile", "*", "--json", "--fail-on", "never", verb="check").stdout)
        return {one["service"]: one["gpus"] for one in told["services"]}

    before = where()
    assert before == {"a": [0, 1], "b": [0, 1], "unknown": [0, 1], "off": [0, 1], "c": [2], "d": [3], "e": [3]}
    planned = {a["service"]: [g["index"] for g in a["gpus"]] for a in json.loads(run("--json", verb="plan").stdout)["assignments"]}
    moved = [name for name in planned if planned[name] != before[name]]
    assert len(moved) == 1 and moved[0] in "ab" and planned[moved[0]] == [2, 3]
    run("--yes", "--ids", ids)
    assert where() == {**before, moved[0]: [2, 3]}
    assert "nothing to do" in run("--yes", "--ids", ids).stderr


def test_what_is_off_goes_along_and_is_told(sandbox):
    """It shares the bytes of one that moves, and starts nowhere: it is not kept apart, and not moved without a word."""
    text = "x-d: &d {resources: {reservations: {devices: [{driver: nvidia, device_ids: ['1'], capabilities: [gpu]}]}}}\n"
    run = small(sandbox, text + "services:\n  a: {image: a, deploy: *d, x-plimsoll: {vram: 20G}}\n  off: {image: a, profiles: [x], deploy: *d}\n")
    assert "a: off, which is not active, goes along" in run("--dry-run").stderr
    done = run("--yes")
    assert done.stderr.count("off, which is not active") == 1, done.stderr
    assert [s["gpus"] for s in json.loads(run("--profile", "x", "--json", "--fail-on", "never", verb="check").stdout)["services"]] == [[0], [0]]


def test_an_engine_that_does_not_tell(simulated):
    """Its own processes would count as others': plan says so first, apply writes nothing; where no engine is named it is one warning."""
    box = simulated(gpus="rtx-3090,rtx-3090")
    box.env["DOCKER_HOST"] = f"unix://{box.dir}/none.sock"
    (box.dir / "p").mkdir()
    path = box.dir / "p/compose.yaml"
    text = "services:\n" + service("llm", "device_ids: ['${LLM:-0}']", "14G") + service("clip", "device_ids: ['${CLIP:-0}']", "2G")
    path.write_text(text)
    box.plimsoll("apply", "--dry-run", cwd=box.dir / "p", check=0)
    one = box.start(BUILD / "plimsoll-simtask", "--vram", "14G", "--seconds", "1000", env={"CUDA_VISIBLE_DEVICES": "0"})
    wait_until(lambda: any(gpu["holders"] for gpu in box.json("gpus")["gpus"]), what="the process on its GPU")
    assert box.plimsoll("plan", cwd=box.dir / "p", check=0).stdout.startswith("the container engine does not tell what runs")
    refused = box.plimsoll("apply", "--yes", cwd=box.dir / "p", check=3)
    assert "count as others'" in " ".join(refused.stderr.split()) and "none.sock" in refused.stderr, refused.stderr
    assert path.read_text() == text and not (box.dir / "p/.env").exists()
    told = box.plimsoll("apply", "--dry-run", cwd=box.dir / "p", check=0)
    assert told.stderr.startswith("the container engine does not tell"), told.stderr
    box.plimsoll("apply", "--yes", "--no-engine", cwd=box.dir / "p", check=0)
    assert (box.dir / "p/.env").exists()
    one.terminate()


def test_it_is_all_or_nothing(sandbox):
    """One service that cannot be edited: which, where, what to type; the other's edit is not written either."""
    text = "services:\n" + service("b", "device_ids: ['${B:-1}']", "22G")
    text += "  a: {image: x, runtime: nvidia, environment: [NVIDIA_VISIBLE_DEVICES], x-plimsoll: {vram: 3G}}\n"
    refused = small(sandbox, text)("--yes", check=3)
    told = " ".join(refused.stderr.split())
    assert "nothing is written, it is all of the plan or nothing" in told, told
    assert 'compose.yaml:9:17' in told and 'service "a": NVIDIA_VISIBLE_DEVICES stands in its environment without a value: give it 1' in told, told
    assert sorted(path.name for path in (sandbox.dir / "small").iterdir()) == ["compose.yaml"]


def test_backups_and_lists_of_what_is_ignored(sandbox):
    """A .gitignore that leaves .env out and not its backups is told of; they are their owner's alone."""
    apply = small(sandbox, "services:\n" + service("a", "device_ids: ['${A}']", "5G") + service("b", "device_ids: ['${B}']", "20G"), "A=0\nB=0\nPASSWORD=x\n")
    ignored = sandbox.dir / "small/.gitignore"
    ignored.write_text("# secrets\n/.env\n*.log\n")
    done = apply("--yes")
    assert ".gitignore leaves out only .env: add .env.plimsoll-* to it" in " ".join(done.stderr.split()), done.stderr
    (backup,) = (sandbox.dir / "small").glob(".env.plimsoll-*")
    assert backup.stat().st_mode & 0o777 == 0o600 and (sandbox.dir / "small/.env").stat().st_mode & 0o777 == 0o644
    for covered in ("/.env\n.env.plimsoll-*\n", ".env*\n", "*.log\n"):
        ignored.write_text(covered)
        (sandbox.dir / "small/.env").write_text("A=0\nB=0\n")
        assert "leaves out only" not in apply("--yes").stderr, covered


def test_replicas_that_part(sandbox):
    """Compose cannot say it: nothing is written for any service, and what is printed instead can be taken as it is."""
    compose = "services:\n" + service("a", "device_ids: ['0']", "5G", "      replicas: 2\n") + service("b", "device_ids: ['1']", "7G")
    apply = small(sandbox, compose)
    refused = apply("--yes", check=1)
    path = sandbox.dir / "small/compose.yaml"
    assert path.read_text() == compose
    planned = apply(verb="plan").stdout
    assert "plimsoll apply refuses this" in planned and "writes this" not in planned, planned
    assert "extends: {service: a}" in refused.stderr and "replicas: together" in refused.stderr, refused.stderr
    printed = refused.stderr.split("\nservices:\n")[1].split("\n\n")[0]
    second = printed[printed.index("  a-2:"):]
    path.write_text(compose.replace("      replicas: 2\n", "") + second + "\n")
    again = apply("--yes", check=0)
    assert "replicas" not in again.stderr


def test_replicas_together(sandbox):
    """Both on one GPU is what compose can say: 10 GiB, which 8 cannot hold."""
    compose = "services:\n" + service("a", "device_ids: ['1']", "5G", "      replicas: 2\n").replace("{vram: 5G}", "{vram: 5G, replicas: together}")
    apply = small(sandbox, compose)
    apply("--yes")
    path = sandbox.dir / "small/compose.yaml"
    assert path.read_text() == compose.replace("['1']", "['0']")
    assert "nothing to do" in apply("--yes").stderr


def test_count_beside_device_ids(sandbox):
    """Compose refuses both: the devices stay. What is no count is refused with its place, before anything is planned."""
    compose = "services:\n" + service("a", "count: 1, device_ids: ['0']", "20G")
    apply = small(sandbox, compose)
    apply("--yes")
    assert (sandbox.dir / "small/compose.yaml").read_text() == compose.replace("count: 1, ", "")
    apply = small(sandbox, "services:\n" + service("a", "count: abc", "20G"))
    for verb in ("check", "plan", "apply"):
        assert "compose.yaml:7:45: services.a" in apply(verb=verb, check=None).stderr


def test_standard_input_cannot_be_written(sandbox):
    apply = small(sandbox, "services: {}\n")
    text = "services:\n" + service("a", "device_ids: ['0']", "20G") + service("b", "device_ids: ['0']", "5G")
    refused = apply("-f", "-", "--yes", check=3, input=text)
    assert "name the file itself" in refused.stderr


def test_nothing_asks_for_a_gpu(sandbox):
    apply = small(sandbox, "services: {a: {image: a}}\n")
    assert "no service asks for a GPU" in apply("--yes").stderr


def test_the_reason_goes_with_the_value(sandbox):
    """The comment names the GPU of its own variable, and when the value changes it is no longer true; what others wrote stays."""
    gpus = [{"index": i, "uuid": f"GPU-{i}{i}{i}{i}0000-0000-4000-8000-000000000000", "name": f"NVIDIA X{i}",
             "vram": {"total_bytes": 24 << 30, "used_bytes": 0}} for i in range(3)]
    sandbox.file("inventory.json", {"gpus": gpus})
    text = "services:\n  a: {image: a, gpus: [{device_ids: ['${GA:-0}', '${GB:-0}']}], x-plimsoll: {vram: 9G, gpus: 2, forbid: ['0']}}\n"
    run = small(sandbox, text)
    env = sandbox.dir / "small/.env"
    run("--yes")
    group = "# GPUs of the services, by plimsoll\n"
    assert env.read_text() == group + "GA=1 # 9 GiB on the X1\nGB=2 # 9 GiB on the X2\n"
    run = small(sandbox, text.replace("9G, gpus: 2, forbid: ['0']", "6G, gpus: 2, forbid: ['2']"))
    run("--yes")
    assert env.read_text() == group + "GA=1 # 9 GiB on the X1\nGB=0 # 6 GiB on the X0\n"
    assert "nothing to do" in run("--yes").stderr
    env.write_text("GA=0 # 9 GiB on the X0\nGB=2 # 9 GiB on the X2, the quiet one\n")
    run = small(sandbox, text)
    run("--yes")
    assert env.read_text() == "GA=1 # 9 GiB on the X1\nGB=2 # 9 GiB on the X2, the quiet one\n"
    env.write_text("GA=2\nGB=0 # 9 GiB on the X0, the quiet one\n")
    run("--yes")
    assert env.read_text() == "GA=2\nGB=1 # 9 GiB on the X0, the quiet one\n"
