"""What plimsoll-nvml, the helper process that asks NVML, makes of every quirk and event of the simulator."""

import json
import os
import select
import shutil
import signal
import time

import pytest
from conftest import BUILD, PATIENCE, wait_until
from gpu_cases import CASES, GIB, MIB, pick


class Helper:
    """A running plimsoll-nvml: a conversation over its pipes."""

    def __init__(self, box):
        import subprocess

        self.process = box.start(BUILD / "plimsoll-nvml", stdin=subprocess.PIPE)
        self.number = 0
        self.events = []
        self.buffer = b""

    def _line(self, deadline):
        fd = self.process.stdout.fileno()
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                return None
            piece = os.read(fd, 65536)
            assert piece, "the helper ended"
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def ask(self, timeout=PATIENCE):
        """The next sample, or None when none came in time. Events on the way are kept."""
        self.number += 1
        self.process.stdin.write(f"sample {self.number}\n")
        self.process.stdin.flush()
        return self.wait(timeout)

    def wait(self, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while (line := self._line(deadline)) is not None:
            if "event" in line:
                self.events.append(line)
            elif line["sample"] == self.number:
                return line["list"]
        return None

    def until(self, condition, what):
        def attempt():
            sample = self.ask()
            return sample if sample and condition(sample) else None

        return wait_until(attempt, what=what)


def inject(box, event):
    box.run(BUILD / "plimsoll-sim", "inject", event, check=0)


def once(box):
    return json.loads(box.run(BUILD / "plimsoll-nvml", "--once", check=0).stdout)


@pytest.mark.parametrize("name", CASES)
def test_quirk(simulated, name):
    given, expected = CASES[name]
    sample = once(simulated(scenario=given))
    for path, value in expected.items():
        found = pick(sample, path)
        good = value(found) if callable(value) else found == value
        assert good, f"{path} is {found!r}\n{json.dumps(sample, indent=1)}"


def test_every_quirk_is_covered(sandbox):
    """A new switch of the simulator needs a case here: it names its switches when it meets an unknown one."""
    used = {"hang"}  # test_hang_*
    for given, _ in CASES.values():
        used |= set(given.get("quirks", {}))
        for gpu in given["gpus"]:
            used |= set(gpu.get("quirks", {}))
    for text in ("{gpus: [], quirks: {nonsense: 1}}", "{gpus: [{model: rtx-a400, quirks: {nonsense: 1}}]}"):
        done = sandbox.run(BUILD / "plimsoll-sim", "check", sandbox.file("s.yaml", text))
        assert done.returncode == 2, done.stderr
        names = done.stderr.split(":")[-1].replace(";", ",").replace(" or ", ",").split(",")
        known = {name.strip().split()[-1] for name in names if name.strip()}
        assert len(known) >= 6, done.stderr
        assert known <= used, f"no case for {known - used}"


LINKS = [
    ("board", "board"),
    ("nvlink", "nvlink"),
    ("nvswitch", "nvlink"),
    ("switch", "switch"),
    ("switches", "switches"),
    ("host-bridge", "host-bridge"),
    ("node", "node"),
    ("unknown", None),
]


def test_links_between_gpus(simulated):
    """Every kind of link, both ways, from the driver to `plimsoll gpus --json`; what is not said is far apart."""
    pairs = [{"between": [0, i + 1], "link": given} for i, (given, _) in enumerate(LINKS)]
    pairs.append({"between": [1, 3], "link": "nvswitch"})
    box = simulated(scenario={"gpus": [{"model": "rtx-3090"}] * 9, "links": pairs})
    sample = once(box)
    topology = sample["topology"]
    assert topology["gpus"] == [gpu["uuid"] for gpu in sample["gpus"]]
    links = topology["links"]
    assert links[0] == [None] + [seen for _, seen in LINKS]
    assert [row[0] for row in links] == links[0]
    assert links[1][3] == links[3][1] == "nvlink"  # through the switch: both have a link to it
    assert links[1][2] == links[4][5] == "system"
    done = box.plimsoll("gpus", "--json")
    assert json.loads(done.stdout)["topology"] == topology


def test_links_unknown(simulated):
    """A driver that cannot say, and one without the functions."""
    box = simulated(gpus="rtx-a5500,rtx-a400")
    assert once(box)["topology"]["links"] == [[None, None], [None, None]]
    quirks = {"missing_symbols": ["nvmlDeviceGetTopology*", "nvmlDeviceGetNvLink*"]}
    given = {"gpus": [{"model": "rtx-3090"}] * 2, "links": [{"between": [0, 1], "link": "node"}], "quirks": quirks}
    sample = once(simulated(scenario=given))
    assert sample["state"] == "ok"
    assert sample["topology"]["links"] == [[None, None], [None, None]]


# ---- events: (what happens, what the sample must come to)

EVENTS = {
    "lost": ("{gpu: 0, event: lost}", lambda s: s["gpus"][0]["health"] == "lost"),
    "lost with 999": ("{gpu: 0, event: lost, code: 999}", lambda s: s["gpus"][0]["health"] == "lost"),
    "lost, smaller": (
        "{gpu: 0, event: lost, listing: smaller}",
        lambda s: [g["health"] for g in s["gpus"]] == ["lost", "ok"],
    ),
    "temperature": ("{gpu: 0, event: temperature, celsius: 91}", lambda s: s["gpus"][0]["temperature_celsius"] == 91),
    "power": ("{gpu: 0, event: power, watts: 222}", lambda s: s["gpus"][0]["power_milliwatts"] == 222000),
    "utilization": ("{gpu: 0, event: utilization, percent: 77}", lambda s: s["gpus"][0]["utilization_percent"] == 77),
    "error": ("{gpu: 0, event: error, code: 16}", lambda s: s["gpus"][0]["health"] == "needs-reset"),
    "foreign": ("{gpu: 0, event: foreign, vram: 3G}", lambda s: s["gpus"][0]["vram"]["used_bytes"] == 3 * GIB),
    "fan": ("{gpu: 0, event: fan, percent: 100}", lambda s: s["gpus"][0]["health"] == "ok"),
    "speed": ("{gpu: 0, event: speed, factor: 0.5}", lambda s: s["gpus"][0]["health"] == "ok"),
    "slow": ("{gpu: 0, event: slow, delay: 2ms}", lambda s: s["gpus"][0]["health"] == "ok"),
}


@pytest.mark.parametrize("name", EVENTS)
def test_event(simulated, name):
    event, condition = EVENTS[name]
    box = simulated(gpus="rtx-a5500,rtx-a400")
    helper = Helper(box)
    before = helper.ask()
    assert [g["health"] for g in before["gpus"]] == ["ok", "ok"]
    inject(box, event)
    after = helper.until(condition, name)
    # Whatever happened to the first, it is named, and the second is as it was.
    assert [g["uuid"] for g in after["gpus"]] == [g["uuid"] for g in before["gpus"]]
    assert after["gpus"][0]["name"] == "NVIDIA RTX A5500"
    assert after["gpus"][0]["vram"]["total_bytes"] == before["gpus"][0]["vram"]["total_bytes"]
    assert after["gpus"][1]["health"] == "ok"


def test_renumbered_loss_is_named_and_comes_back(simulated):
    box = simulated(gpus="rtx-a5500,rtx-a400")
    helper = Helper(box)
    before = {g["uuid"]: g for g in helper.ask()["gpus"]}
    inject(box, "{gpu: 0, event: lost, listing: renumber}")
    after = helper.until(lambda s: any(g["health"] == "lost" for g in s["gpus"]), "the loss")
    assert {g["uuid"] for g in after["gpus"]} == set(before)
    lost = next(g for g in after["gpus"] if g["health"] == "lost")
    assert lost["name"] == "NVIDIA RTX A5500" and "it was GPU 0" in lost["health_text"]
    assert next(g for g in after["gpus"] if g["health"] == "ok")["index"] == 0
    inject(box, "{gpu: 0, event: back}")
    healed = helper.until(lambda s: all(g["health"] == "ok" for g in s["gpus"]), "its return")
    assert {g["uuid"]: g["index"] for g in healed["gpus"]} == {g["uuid"]: g["index"] for g in before.values()}


def test_driver_goes_and_comes(simulated):
    box = simulated(gpus="rtx-a5500,rtx-a400")
    helper = Helper(box)
    before = helper.ask()
    inject(box, "{event: no-driver}")
    gone = helper.ask()
    assert gone["state"] == "no-driver"
    # The GPUs are still known: what cannot be looked at is stale, not gone.
    assert [g["health"] for g in gone["gpus"]] == ["stale", "stale"]
    assert [g["uuid"] for g in gone["gpus"]] == [g["uuid"] for g in before["gpus"]]
    assert gone["gpus"][0]["stale_since"] is not None
    inject(box, "{event: driver-ok}")
    back = helper.until(lambda s: s["state"] == "ok", "the driver's return")
    assert [g["health"] for g in back["gpus"]] == ["ok", "ok"]


def test_mismatch_by_an_upgrade_underneath(simulated):
    """A session that was there before the upgrade goes on working; whatever starts now does not."""
    box = simulated(gpus="rtx-a5500,rtx-a400")
    assert once(box)["state"] == "ok"
    library = box.dir / "driver" / "libnvidia-ml.so.1"
    library.parent.mkdir()
    shutil.copy(BUILD / "libnvidia-ml.so.1", library)
    box.env["LD_LIBRARY_PATH"] = str(library.parent)
    helper = Helper(box)
    assert helper.ask()["state"] == "ok"
    inject(box, "{event: mismatch}")
    assert once(box)["state"] == "mismatch"
    assert helper.ask()["state"] == "ok"
    shutil.copy(library, box.dir / "newer")
    os.rename(box.dir / "newer", library)
    sample = helper.ask()
    assert sample["state"] == "mismatch" and "NVML 18" in sample["text"]
    assert [g["health"] for g in sample["gpus"]] == ["stale", "stale"]
    inject(box, "{event: driver-ok}")
    back = helper.until(lambda s: s["state"] == "ok", "the end of the mismatch")
    assert [g["health"] for g in back["gpus"]] == ["ok", "ok"]


def test_xids_are_told(simulated):
    box = simulated(gpus="rtx-a5500,rtx-a400")
    helper = Helper(box)
    uuid = helper.ask()["gpus"][1]["uuid"]
    inject(box, "{gpu: 1, event: xid, xid: 31}")
    helper.until(lambda s: helper.events, "the event")
    assert helper.events[0]["event"] == "xid"
    assert (helper.events[0]["uuid"], helper.events[0]["xid"]) == (uuid, 31)
    assert helper.events[0]["at"] is not None


def test_who_keeps_the_gpu_busy(simulated):
    box = simulated(gpus="rtx-a5500")
    tasks = {
        box.start(BUILD / "plimsoll-simtask", "--vram", "1G", "--seconds", "600", "--util", str(share)).pid: share
        for share in (20, 35)
    }
    helper = Helper(box)

    def shares(sample):
        found = {p["pid"]: p["utilization_percent"] for p in sample["gpus"][0]["processes"]}
        return found if None not in found.values() and len(found) == 2 else None

    sample = helper.until(shares, "the utilisation of both")
    assert shares(sample) == tasks
    crowd = box.start(BUILD / "plimsoll-simtask", "--vram", "1G", "--seconds", "600", "--util", "65").pid
    full = helper.until(lambda s: len(s["gpus"][0]["processes"]) == 3 and shares_of(s).get(crowd), "the third")
    assert sum(shares_of(full).values()) <= 100, "shares of a full GPU, not what each would take alone"


def shares_of(sample):
    return {p["pid"]: p["utilization_percent"] or 0 for p in sample["gpus"][0]["processes"]}


def test_hang_of_one_gpu_and_its_end(simulated):
    box = simulated(gpus="rtx-a5500,rtx-a400")
    helper = Helper(box)
    assert helper.ask()["state"] == "ok"
    inject(box, "{gpu: 0, event: hang}")
    assert helper.ask(timeout=1) is None
    inject(box, "{gpu: 0, event: unhang}")
    assert helper.wait()["gpus"][0]["health"] == "ok"


@pytest.mark.parametrize("quirks", [{"quirks": {"hang": True}}, {"gpus": [{"model": "rtx-a400", "quirks": {"hang": True}}]}])
def test_hanging_helper_ends_with_its_input(simulated, quirks):
    """Whoever started it may be gone: it must not stay, though its calls never return."""
    box = simulated(scenario={"gpus": [{"model": "rtx-a400"}], **quirks})
    helper = Helper(box)
    assert helper.ask(timeout=0.5) is None
    helper.process.stdin.close()
    assert helper.process.wait(timeout=PATIENCE) == 0
    helper.process.stdin = None


def test_bad_command_ends_it(simulated):
    box = simulated(gpus="rtx-a400")
    for text in ("dance\n", "sample\n", "sample -1\n", "sample x\n", "x" * 4096):
        assert box.run(BUILD / "plimsoll-nvml", input=text).returncode == 2, text
    assert box.run(BUILD / "plimsoll-nvml", "--twice").returncode == 2


def test_no_library(sandbox):
    sample = once(sandbox)
    if sample["state"] == "no-library":
        assert "libnvidia-ml.so.1" in sample["text"] and sample["gpus"] == []
    else:
        pytest.skip(f"this machine has an NVIDIA library ({sample['state']})")


def test_reader_gone(simulated):
    """Nobody reads its output any more: it ends by itself, quietly."""
    box = simulated(gpus="rtx-a400")
    helper = Helper(box)
    helper.process.stdout.close()
    helper.process.stdin.write("sample 1\n")
    helper.process.stdin.flush()
    assert helper.process.wait(timeout=PATIENCE) == 0
    helper.process.stdout = None


def test_small(simulated):
    """The helper runs for as long as the daemon: it must stay small over many samples."""
    box = simulated(gpus=",".join(["rtx-3090"] * 8))
    helper = Helper(box)

    def resident():
        with open(f"/proc/{helper.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(50):
        assert len(helper.ask()["gpus"]) == 8
    first = resident()
    for _ in range(300):
        helper.ask()
    if "san" not in BUILD.name:
        assert resident() < 8 * MIB
        assert resident() - first < MIB
    helper.process.send_signal(signal.SIGTERM)
