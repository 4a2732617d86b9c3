"""`plimsoll check`: what it finds in the project of S1, and how it says so. What each rule finds is in tests/cases/check."""

import json
import os
import pathlib
import pty
import re
import resource
import shutil
import subprocess
import time

import pytest
from conftest import PATIENCE, ROOT
from test_json_names import check as has_shape

SEVERITIES = {"error": "error", "warning": "warning", "info": "note"}


@pytest.fixture
def project(sandbox):
    """The project as it was found, in a folder of its own."""
    path = sandbox.dir / "nem-3900"
    shutil.copytree(ROOT / "examples" / "nem-3900", path)
    return path


def check(sandbox, project, *options, status=None):
    return sandbox.plimsoll("check", "--inventory", "inventory.json", *options, cwd=project, check=status)


def findings(sandbox, project, *options):
    found = json.loads(check(sandbox, project, "--json", *options).stdout)
    has_shape(found, "check")
    return found


def told(found, *severities):
    return [(f["code"], f["file"], f["line"], f["service"]) for f in found["findings"] if f["severity"] in severities]


def line_of(path, text):
    """The number of the line that holds it."""
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# ---- the story


def test_every_fault_of_the_story_is_found(sandbox, project):
    found = findings(sandbox, project)
    compose, env = project / "compose.yaml", project / ".env"
    heavy = line_of(compose, "GPU_ENRICHMENT:-1")
    assert told(found, "error") == [
        ("does-not-fit", "compose.yaml", heavy, "ai-enrichment"),
        ("over-gpu-size", "compose.yaml", heavy, "ai-enrichment"),
    ]
    assert told(found, "warning") == [
        ("unused-variable", ".env", line_of(env, "GPU_AI_SERVICES"), None),
        ("commented-out", ".env", line_of(env, "# GPU_YOLO26"), "ai-yolo26"),
        ("commented-out", ".env", line_of(env, "# GPU_CLIP"), "ai-clip"),
        ("commented-out", ".env", line_of(env, "# GPU_ENRICHMENT"), "ai-enrichment"),
        ("over-load-line-now", "compose.yaml", line_of(compose, "GPU_LLM:-0"), "ai-llm"),
    ]
    assert {(f["code"], f["service"]) for f in found["findings"] if f["severity"] == "info"} >= {
        ("default-in-force", None),
        ("index-not-uuid", None),
    }
    by_code = {f["code"]: f for f in found["findings"]}
    assert by_code["default-in-force"]["fix"] == "add to .env, a line each: GPU_LLM=0 GPU_FLORENCE=0 GPU_ENRICHMENT_LIGHT=1"
    assert "GPU 0 (RTX A5500, 23.99 GiB) holds 23.2 GiB now, 97 %" in by_code["over-load-line-now"]["message"]
    assert "while GPU 1 (RTX A400, 4 GiB) idles at 7 %" in by_code["over-load-line-now"]["message"]
    assert by_code["over-load-line-now"]["fix"].startswith(f"write GPU_YOLO26=1 in .env:{line_of(env, '# GPU_YOLO26')}: ai-yolo26")
    assert "6 services need 28.51 GiB" in by_code["does-not-fit"]["message"]
    assert "ai-enrichment load on demand" in by_code["does-not-fit"]["fix"]
    assert by_code["over-gpu-size"]["message"] == "ai-enrichment needs 6 GiB and is assigned to GPU 1 (RTX A400, 4 GiB)"
    assert "GPU_YOLO26" in by_code["unused-variable"]["fix"]


def test_what_is_assigned_and_why(sandbox, project):
    services = {s["service"]: s for s in findings(sandbox, project)["services"]}
    assert list(services) == ["ai-llm", "ai-florence", "ai-yolo26", "ai-clip", "ai-enrichment", "ai-enrichment-light"]
    heavy = services["ai-enrichment"]
    assert (heavy["gpus"], heavy["source"], heavy["value"], heavy["variable"]) == ([1], "commented", "1", "GPU_ENRICHMENT")
    assert heavy["line"] == line_of(project / "compose.yaml", "GPU_ENRICHMENT:-1")
    assert abs(heavy["vram_bytes"] - 6 * 2**30) < 1024
    assert services["ai-llm"]["source"] == "default"


def test_the_trap_is_seen_behind_the_env_file(sandbox, project):
    change(project / ".env", "# GPU_ENRICHMENT=1", "GPU_ENRICHMENT=0")
    found = findings(sandbox, project)
    heavy = line_of(project / "compose.yaml", "GPU_ENRICHMENT:-1")
    assert ("wrong-default", "compose.yaml", heavy, "ai-enrichment") in told(found, "warning")
    # And what the written fix missed: GPU 0 does not hold it beside the others.
    (over,) = [f for f in found["findings"] if f["code"] == "over-load-line"]
    assert "27.31 GiB" in over["message"] and "22.79 GiB" in over["message"]


def test_the_same_on_the_machine_itself(simulated, project):
    machine = simulated(gpus="rtx-a5500,rtx-a400")
    here = json.loads(machine.plimsoll("check", "--json", cwd=project, check=1).stdout)
    there = json.loads(machine.plimsoll("check", "--json", "--inventory", "inventory.json", cwd=project, check=1).stdout)
    assert here["services"] == there["services"]
    # The inventory knows what ran there; nothing runs here.
    now = ("over-load-line-now", "compose.yaml", line_of(project / "compose.yaml", "GPU_LLM:-0"), "ai-llm")
    assert told(here, "error", "warning") == [told_ for told_ in told(there, "error", "warning") if told_ != now]
    assert now in told(there, "warning")


def test_what_apply_wrote_has_no_wrong_default(sandbox, project):
    sandbox.plimsoll("apply", "--inventory", "inventory.json", "--way-out", "1", "--yes", cwd=project)
    found = findings(sandbox, project)
    assert "wrong-default" not in {f["code"] for f in found["findings"]}
    # What it left to people is still told: nothing says yet that one of them loads on demand.
    assert {code for code, *_ in told(found, "error")} == {"does-not-fit", "over-load-line"}


def test_once_mended_it_is_quiet(sandbox, project):
    env = project / ".env"
    lines = [line for line in env.read_text().splitlines() if "GPU_" not in line]
    names = {"LLM": 0, "FLORENCE": 0, "ENRICHMENT": 0, "YOLO26": 1, "CLIP": 1, "ENRICHMENT_LIGHT": 1}
    env.write_text("\n".join(lines + [f"GPU_{name}={gpu}" for name, gpu in names.items()]) + "\n")
    change(project / "compose.yaml", "GPU_ENRICHMENT:-1", "GPU_ENRICHMENT:-0")
    change(project / "compose.yaml", "    x-plimsoll:\n      models:", "    x-plimsoll:\n      on-demand: true\n      models:")
    found = findings(sandbox, project, "--fail-on", "warning")
    # The inventory is of the day before: what ran then is not yet where the files say now.
    assert told(found, "error") == []
    assert [(code, service) for code, _, _, service in told(found, "warning")] == [
        ("over-load-line-now", "ai-llm"),
        ("drift", "ai-yolo26"),
        ("drift", "ai-clip"),
        ("drift", "ai-enrichment"),
    ]
    (now,) = [f for f in found["findings"] if f["code"] == "over-load-line-now"]
    assert now["fix"].startswith("`docker compose up -d ai-yolo26 ai-clip`")


def test_profiles_that_are_off_are_named(sandbox, project):
    """What nobody looked at is said, and can be looked at."""
    change(project / "compose.yaml", "  ai-clip:\n    image", "  spare-b: {image: x, profiles: [extra, more], gpus: all}\n  spare-a: {image: x, profiles: [extra], x-plimsoll: {vram: 1G}}\n  ai-clip:\n    image")
    found = findings(sandbox, project)
    (off,) = [f for f in found["findings"] if f["code"] == "profile-off"]
    assert off["severity"] == "info" and "2 services of profiles that are off were not looked at: spare-b (extra), spare-a (extra)" in off["message"]
    assert "note [profile-off] 2 services of profiles" in " ".join(check(sandbox, project).stdout.split())
    for profile in ("*", "extra"):
        found = findings(sandbox, project, "--profile", profile)
        assert "spare-b" in {s["service"] for s in found["services"]}
        assert ("need-without-request", "spare-a") in {(f["code"], f["service"]) for f in found["findings"]}
        assert "profile-off" not in {f["code"] for f in found["findings"]}


# ---- status, formats


@pytest.mark.parametrize(
    "options, status", [([], 1), (["--fail-on", "error"], 1), (["--fail-on", "warning"], 1), (["--fail-on", "never"], 0)]
)
def test_status(sandbox, project, options, status):
    check(sandbox, project, *options, status=status)


def test_warnings_fail_only_when_asked(sandbox, project):
    (project / "one.yaml").write_text(
        "services: {ai: {image: x, deploy: {resources: {reservations: {devices: "
        "[{driver: nvidia, count: 1, capabilities: [gpu]}]}}}}}\n"
    )
    check(sandbox, project, "-f", "one.yaml", status=0)
    check(sandbox, project, "-f", "one.yaml", "--fail-on", "warning", status=1)


def test_without_gpus_it_says_what_to_do(sandbox, project):
    assert "--inventory FILE" in sandbox.plimsoll("check", cwd=project, check=3).stderr


def test_wrong_usage(sandbox, project):
    check(sandbox, project, "--format", "xml", status=2)
    check(sandbox, project, "--json", "--format", "sarif", status=2)
    assert "nowhere.yaml" in check(sandbox, project, "-f", "nowhere.yaml", status=3).stderr


def test_a_project_without_gpus(sandbox, project):
    (project / "web.yaml").write_text("services: {web: {image: nginx}}\n")
    done = check(sandbox, project, "-f", "web.yaml", status=0)
    assert done.stdout == "No service of this project asks for a GPU; nothing found.\n"


def test_a_project_without_gpus_on_a_machine_without_gpus(sandbox, project):
    (project / "web.yaml").write_text("services: {web: {image: nginx}}\n")
    done = sandbox.plimsoll("check", "-f", "web.yaml", cwd=project, check=0)
    assert done.stdout == "No service of this project asks for a GPU; nothing found.\n"
    (project / "web.yaml").write_text("services: {web: {image: nginx, gpus: all}}\n")
    assert "--inventory FILE" in sandbox.plimsoll("check", "-f", "web.yaml", cwd=project, check=3).stderr


def test_needs_that_cannot_be_read_are_errors(sandbox, project):
    change(project / "compose.yaml", "vram: 18G", "vrams: 18G")
    line = line_of(project / "compose.yaml", "vrams")
    assert f"compose.yaml:{line}:" in check(sandbox, project, status=3).stderr


def test_sarif(sandbox, project):
    log = json.loads(check(sandbox, project, "--format", "sarif", status=1).stdout)
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "plimsoll" and driver["version"]
    rules = driver["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules) > 20
    for rule in rules:
        assert re.fullmatch(r"[a-z0-9-]+", rule["id"]) and rule["shortDescription"]["text"] and rule["fullDescription"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    found = findings(sandbox, project)["findings"]
    assert len(run["results"]) == len(found)
    for result, finding in zip(run["results"], found):
        assert result["ruleId"] == finding["code"] == rules[result["ruleIndex"]]["id"]
        assert result["level"] == SEVERITIES[finding["severity"]]
        assert finding["message"] in result["message"]["text"] and finding["fix"] in result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        # Relative, with slashes, percent-encoded: what a code host resolves against the root of the repository.
        assert re.fullmatch(r"[A-Za-z0-9._~%-][A-Za-z0-9._~/%-]*", place["artifactLocation"]["uri"])
        region = place["region"]
        assert (region["startLine"], region["startColumn"]) == (finding["line"], finding["column"])
        assert (region["endLine"], region["endColumn"]) > (region["startLine"], region["startColumn"])


def test_sarif_names_files_as_uris(sandbox, project):
    folder = project / "a b%c"
    folder.mkdir()
    shutil.move(project / "compose.yaml", folder / "compose.yaml")
    log = json.loads(check(sandbox, project, "--format", "sarif", "-f", "a b%c/compose.yaml", "--env-file", ".env").stdout)
    uris = {r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in log["runs"][0]["results"]}
    assert uris == {".env", "a%20b%25c/compose.yaml"}


def test_comments_silence(sandbox, project):
    change(project / ".env", "GPU_AI_SERVICES=1", "GPU_AI_SERVICES=1 # plimsoll: ignore unused-variable")
    first = findings(sandbox, project)
    assert first["suppressed"] == 1 and "unused-variable" not in {code for code, *_ in told(first, "warning")}
    env = project / ".env"
    env.write_text("# plimsoll: ignore commented-out\n" + env.read_text())
    second = findings(sandbox, project)
    assert second["suppressed"] == 4 and [code for code, *_ in told(second, "warning")] == ["over-load-line-now"]
    assert "(4 silenced by comments)" in check(sandbox, project).stdout


def test_a_block_of_comments_is_read_once(sandbox, project):
    """Each line of it speaks of the line below the block; the file is as large as one may be."""
    env = project / ".env"
    env.write_text("A=1\n" + "#plimsoll: ignore commented-out\n" * 120000 + env.read_text())
    began = time.monotonic()
    check(sandbox, project)
    assert time.monotonic() - began < 8


# ---- the screen


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_screen_is_as_wide_as_it_is(sandbox, project, width):
    done = check(sandbox, project, status=1)
    narrow = sandbox.plimsoll("check", "--inventory", "inventory.json", cwd=project, env={"COLUMNS": str(width)})
    long_words = re.compile(r"GPU-[0-9a-f-]{36}|^[^ ]+:\d+:\d+:")
    for line in narrow.stdout.splitlines():
        assert len(line) <= width or long_words.search(line), line
    # The same words, however they are broken.
    assert narrow.stdout.count("fix:") == done.stdout.count("fix:") == 11
    assert narrow.stdout.rstrip().endswith("2 errors, 5 warnings, 4 notes")


def test_the_mark_stands_under_what_is_meant(sandbox, project):
    lines = check(sandbox, project).stdout.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("compose.yaml:") and "[over-gpu-size]" in line]
    source, marks = lines[at + 2], lines[at + 3]
    begin, end = marks.index("^"), len(marks)
    assert source[begin:end] == "'${GPU_ENRICHMENT:-1}'"


def test_a_file_of_one_long_line(sandbox, project):
    """What is shown of a line is found from the mark, whatever stands before it."""
    ids = ",".join(f'"{i % 10}"' for i in range(75000))
    service = f"{{x-pad: [{ids}], image: a, gpus: [{{device_ids: ['9']}}], x-plimsoll: {{vram: 6G}}}}"
    (project / "compose.yaml").write_text(f"services:\n  a: {service}\n")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    out = check(sandbox, project, status=1).stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 10
    lines = out.splitlines()
    (at,) = [i for i, line in enumerate(lines) if "[gpu-not-there]" in line]
    source, marks = lines[at + 2 : at + 4]
    assert source[marks.index("^") : len(marks)] == "9"
    assert len(source) < 300


def test_a_block_of_comments_that_silence(sandbox, project):
    """Each line of it speaks of the one line below; it is found once."""
    (project / "compose.yaml").write_text("# plimsoll: x\n" + "# plimsoll: ignore gpus-key\n" * 120000 + "services: {a: {image: a, gpus: [{device_ids: ['0']}]}}\n")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    found = findings(sandbox, project)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 3
    assert "gpus-key" not in [f["code"] for f in found["findings"]] and found["suppressed"] == 1


def test_colours_add_nothing_but_colours(sandbox, project):
    plain = sandbox.plimsoll("check", "--inventory", "inventory.json", cwd=project, env={"COLUMNS": "100"}).stdout
    keeper, terminal = pty.openpty()
    env = {**sandbox.env, "COLUMNS": "100"}
    del env["NO_COLOR"]
    child = subprocess.Popen(
        [sandbox.build / "plimsoll", "check", "--inventory", "inventory.json"], cwd=project, env=env, stdout=terminal
    )
    os.close(terminal)
    screen = b""
    while True:
        try:
            piece = os.read(keeper, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        screen += piece
    os.close(keeper)
    assert child.wait(PATIENCE) == 1
    text = screen.decode().replace("\r\n", "\n")
    assert "\033[1;31merror\033[0m" in text
    assert re.sub(r"\033\[[0-9;]*m", "", text) == plain


def test_a_file_cannot_write_on_the_screen(sandbox, project):
    env = project / ".env"
    env.write_bytes(env.read_bytes() + b"GPU_EVIL=1 \x1b]0;owned\x07\x1b[2J\nGPU_LATER=0\n")
    out = check(sandbox, project).stdout
    assert "\x1b" not in out and "\x07" not in out


def test_the_page_lists_what_is_there():
    page = (ROOT / "docs" / "checks.md").read_text()
    codes = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.M))
    shown = {
        line.split()[0]
        for case in pathlib.Path(ROOT / "tests" / "cases" / "check").glob("*.case")
        for line in case.read_text().split("== expect")[1].splitlines()
        if line and not line.startswith("#")
    }
    assert codes == shown
