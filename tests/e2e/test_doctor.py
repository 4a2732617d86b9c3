"""Recorded machines: each root under tests/roots has the faults its `expect:` line names, and no other."""

import json
import os
import re
import subprocess

import pytest

from conftest import BUILD, ROOT

ROOTS = sorted((ROOT / "tests/roots").glob("*.txt"))
HEAD = re.compile(r"^(include|expect|for): (.*)$", re.M)


def head_of(path):
    return dict(HEAD.findall(path.read_text().split("\n-- ", 1)[0]))


def text_of(path):
    """A root with what it includes before it: a later entry takes the place of an earlier one."""
    text = path.read_text()
    included = head_of(path).get("include")
    return text_of(path.parent / included) + "\n" + text[text.index("\n-- ") + 1:] if included else text


def doctor(*words, code=None):
    done = subprocess.run([BUILD / "plimsoll", "doctor", *words], capture_output=True, text=True, timeout=120)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done


def faults(document):
    return {(check["id"], check["status"]) for check in document["checks"] if check["status"] in ("warn", "fail")}


@pytest.fixture
def root_at(tmp_path):
    def write(name):
        path = tmp_path / f"{name}.txt"
        path.write_text(text_of(ROOT / f"tests/roots/{name}.txt"))
        return path
    return write


@pytest.mark.parametrize("path", ROOTS, ids=lambda path: path.stem)
def test_a_root_has_exactly_its_faults(path, root_at):
    head = head_of(path)
    expected = set() if head["expect"] == "healthy" else {tuple(one.split()) for one in head["expect"].split(", ")}
    for_ = ["--for", head["for"]] if "for" in head else []
    done = doctor("--json", "--root", root_at(path.stem), *for_)
    document = json.loads(done.stdout)
    assert faults(document) == expected, done.stdout
    assert done.returncode == any(status == "fail" for _, status in expected)
    for check in document["checks"]:
        assert check["evidence"]
        if check["status"] in ("warn", "fail"):
            assert check["cause"] and check["fix"], check


def test_every_check_has_a_root():
    """A check that no recorded machine makes speak has never been seen to find anything."""
    expected = {one.split()[0] for path in ROOTS for one in head_of(path)["expect"].split(", ")} - {"healthy"}
    ids = {check["id"] for check in json.loads(doctor("--json").stdout)["checks"]}
    assert expected <= ids, expected - ids
    assert ids <= expected, ids - expected


def test_the_mismatch_names_both_versions_and_the_way_out(root_at):
    told = doctor("--root", root_at("driver-mismatch"), code=1).stdout
    for words in ("570.86.15", "570.133.20", "go on", "sudo reboot", "rmmod nvidia_drm nvidia_modeset nvidia_uvm nvidia"):
        assert words in told, told
    assert "dkms" not in told
    told = doctor("--root", root_at("driver-mismatch-not-built"), code=1).stdout
    assert told.index("linux-headers-6.8.0-57-generic") < told.index("dkms autoinstall") < told.index("sudo reboot"), told


def test_a_module_that_is_not_loaded_says_why(root_at):
    for name, words in (("no-driver", "ubuntu-drivers install"), ("module-not-loaded", "sudo modprobe nvidia"),
                        ("module-blacklisted", "/usr/lib/modprobe.d/blacklist-nvidia.conf"), ("secure-boot", "mokutil --import"),
                        ("headers-missing", "linux-headers-6.8.0-60-generic"), ("dkms-failed", "dkms status"),
                        ("open-module-old-gpu", "proprietary")):
        assert words in doctor("--root", root_at(name), code=1).stdout, name


def test_the_kernel_log_is_told_with_meaning_and_advice(root_at):
    def told(name):
        found = json.loads(doctor("--json", "--root", root_at(name), "--only", "recent-xid").stdout)["checks"][0]
        return found["status"], "\n".join(found["evidence"]), "\n".join(found["fix"])

    status, evidence, fix = told("xid-gsp")
    assert status == "fail" and "Xid 119, 2 times, the last by nvidia-smi (2024391)" in evidence and "--gpu-reset -i GPU-" in fix
    status, evidence, fix = told("xid-past")
    assert status == "warn" and "Xid 62" in evidence and "--gpu-reset" not in fix
    status, evidence, fix = told("xid-application")
    assert status == "ok" and "compute-sanitizer" in evidence and not fix
    status, evidence, fix = told("xid-over")
    assert status == "ok" and evidence.count("brought back since") == 2
    status, evidence, fix = told("gpu-lost")
    assert evidence.count("fell off the PCI bus") == 1 and "sudo poweroff" in fix
    status, evidence, fix = told("gsp-firmware-missing")
    assert "firmware" in evidence and "RmInitAdapter" not in evidence and "poweroff" not in fix
    assert told("no-gpu")[0] == "skipped"


def test_a_machine_without_a_gpu_is_told_calmly(root_at):
    path = root_at("no-gpu")
    told = doctor("--root", path, code=1).stdout
    assert told.count("\n") < 15 and "no NVIDIA device" in told
    assert "fail" not in doctor("--root", path, "--for", "none", code=0).stdout


@pytest.mark.parametrize("columns", (80, 200))
def test_commands_stay_whole_and_prose_fits(root_at, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    told = doctor("--root", root_at("driver-mismatch"), "-v").stdout
    assert "       sudo rmmod nvidia_drm nvidia_modeset nvidia_uvm nvidia && nvidia-smi\n" in told
    prose = [line for line in told.splitlines() if "sudo" not in line or line.lstrip(" fix:").startswith("#")]
    assert max(map(len, prose)) <= min(columns, 100), told


def test_only_some(root_at):
    path = root_at("driver-mismatch")
    one = json.loads(doctor("--json", "--root", path, "--only", "gpu-vram,driver-version").stdout)
    assert [check["id"] for check in one["checks"]] == ["driver-version", "gpu-vram"]
    assert {check["group"] for check in json.loads(doctor("--json", "--root", path, "--only", "driver").stdout)["checks"]} == {"driver"}
    done = doctor("--only", "gpu-vrm", code=2)
    assert 'did you mean "gpu-vram"' in done.stderr


def test_what_is_no_root_is_refused(tmp_path):
    text = tmp_path / "text"
    text.write_text("only text\n")
    assert "no bundle" in doctor("--root", text, code=3).stderr
    doctor("--root", tmp_path / "none", code=3)
    assert "18G" in doctor("--for", "everything", code=2).stderr


def test_a_folder_is_a_root_too(tmp_path):
    for name, text in {"proc/modules": "nouveau 1 0 - Live 0x0\n", "sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
                       "sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "sys/bus/pci/devices/0000:01:00.0/driver").symlink_to("/sys/bus/pci/drivers/nouveau")
    document = json.loads(doctor("--json", "--root", tmp_path, code=1).stdout)
    assert faults(document) == {("driver-nouveau", "fail")}


def test_a_report_says_again_what_the_machine_said(root_at, tmp_path):
    for name in ("workstation", "driver-mismatch", "secure-boot"):
        path, report = root_at(name), tmp_path / "report"
        first = json.loads(doctor("--json", "--root", path, "--report", report).stdout)
        second = json.loads(doctor("--json", "--root", report).stdout)
        assert first == second
        assert report.stat().st_mode & 0o777 == 0o600


def test_on_simulated_gpus(simulated):
    box = simulated(gpus="rtx-a5500,rtx-a400")
    done = box.run(BUILD / "plimsoll", "doctor", "--json", "--only", "driver,gpus")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert not faults(document)
    evidence = {check["id"]: " ".join(check["evidence"]) for check in document["checks"]}
    assert "2 GPUs" in evidence["gpu-present"] and "23.99 GiB" in evidence["gpu-vram"]
    assert box.run(BUILD / "plimsoll", "doctor", "--for", "30G").returncode == 1


def test_what_nvml_says_of_a_gpu_in_a_bad_way(simulated):
    """Through the whole path: the library, the helper process, its JSON, the checks."""
    box = simulated(scenario=(ROOT / "sim/scenarios/condition.yaml").read_text())
    done = box.run(BUILD / "plimsoll", "doctor", "--json", "--only", "driver,gpus")
    assert faults(json.loads(done.stdout)) == {
        ("gpu-recovery", "fail"), ("gpu-persistence", "warn"), ("gpu-ecc", "fail"), ("gpu-throttle", "warn"), ("gpu-pcie", "warn"),
        ("gpu-power-limit", "warn"), ("gpu-compute-mode", "fail")}, done.stdout


def test_this_machine_is_left_as_it_was():
    """No node of NVIDIA's is made by looking."""
    before = sorted(name for name in os.listdir("/dev") if name.startswith("nvidia"))
    done = doctor("--json", "--for", "none")
    assert done.returncode in (0, 1) and json.loads(done.stdout)["checks"]
    assert sorted(name for name in os.listdir("/dev") if name.startswith("nvidia")) == before


TRAP = b"""
#include <fcntl.h>
#include <stdlib.h>
int nvmlInit_v2(void) { creat(getenv("TRAP"), 0600); return 9; }
int nvmlInit(void) { return nvmlInit_v2(); }
"""


@pytest.mark.skipif(os.path.exists("/proc/driver/nvidia/version"), reason="here NVML may be asked")
def test_nvml_is_not_initialised_without_its_module(tmp_path, monkeypatch):
    """NVIDIA's library makes /dev/nvidiactl when it is initialised, with no driver loaded too."""
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", tmp_path / "libnvidia-ml.so.1", "-"], input=TRAP, check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("TRAP", str(tmp_path / "made"))
    # A daemon of this user would answer `gpus` from what it has loaded itself.
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    doctor("--json", "--for", "none")
    assert not (tmp_path / "made").exists()
    subprocess.run([BUILD / "plimsoll", "gpus"], capture_output=True, timeout=60)
    assert (tmp_path / "made").exists(), "the trap does not work: this test could not fail"
