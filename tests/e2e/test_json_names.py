"""What `--json` prints has the names of DESIGN §7, each with its type: tests/cases/json/ says which."""

import json
import re

import pytest
from conftest import ROOT, wait_until

SHAPES = ROOT / "tests" / "cases" / "json"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TYPES = {
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "string": lambda v: isinstance(v, str),
    "bool": lambda v: isinstance(v, bool),
    "time": lambda v: isinstance(v, str) and bool(TIME.fullmatch(v)),
}


def load(name):
    return json.loads((SHAPES / f"{name}.json").read_text())


def faults(value, shape, where=""):
    """Yields every place where the value has not the shape."""
    if isinstance(shape, str) and shape.startswith("@"):
        yield from faults(value, load(shape[1:]), where)
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{where} is {value!r}, not an object"
            return
        for name, inner in shape.items():
            if name not in value:
                yield f"{where}.{name} is missing"
            else:
                yield from faults(value[name], inner, f"{where}.{name}")
        for name in value:
            # The rules of the page hold for what was added too.
            if name.endswith(("_bytes", "_seconds", "_percent")) and value[name] is not None and not TYPES["number"](value[name]):
                yield f"{where}.{name} is {value[name]!r}, not a number"
            if name.endswith("_at") and value[name] is not None and not TYPES["time"](value[name]):
                yield f"{where}.{name} is {value[name]!r}, not a time"
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{where} is {value!r}, not an array"
            return
        for i, item in enumerate(value):
            yield from faults(item, shape[0], f"{where}[{i}]")
    else:
        if shape.endswith("?"):
            if value is None:
                return
            shape = shape[:-1]
        good = TYPES[shape](value) if shape in TYPES else value in shape.split("|")
        if not good:
            yield f"{where} is {value!r}, not {shape}"


def check(value, name):
    found = list(faults(value, load(name), name))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("shape", ["gpus", "task", "attempt", "queue", "batch", "plan", "plan-explained", "check", "apply", "profile"])
def test_the_check_finds_what_is_wrong(shape):
    assert list(faults({}, load(shape)))
    assert list(faults(None, load(shape)))
    assert list(faults([], {"a": "int"})) and list(faults({"a": True}, {"a": "int"})) and list(faults({"a": "x"}, {"a": "b|c"}))
    assert not list(faults({"a": None, "b": "2026-01-02T03:04:05.678Z"}, {"a": "int?", "b": "time"}))
    assert list(faults({"at_bytes": "1G"}, {})) and list(faults({"seen_at": "yesterday"}, {}))


def test_of_every_verb_that_prints_facts(two_gpus):
    box, task = two_gpus, two_gpus.build / "plimsoll-simtask"
    check(box.json("gpus"), "gpus")
    check(box.json("queue"), "queue")
    rows = box.file("rows.jsonl", '{"s": 0.2, "x": 0, "v": "1G"}\n{"s": 0.1, "x": 3, "v": "1G"}\n{"s": 0.1, "x": 0, "v": "30G"}\n')
    result = box.json(
        "batch", rows, "-y", "--vram", "1G", "--", task, "--vram", "{v}", "--seconds", "{s}", "--exit", "{x}", check=1
    )
    check(result, "batch")
    ends = [[a["outcome"] for a in t["attempts"]][-1] for t in result["tasks"]]
    assert ends == ["ok", "error", "oom"]
    assert result["summary"]["done"] == 1 and result["summary"]["failed"] == 2
    assert [t["attempts"][0]["exit_code"] for t in result["tasks"][:2]] == [0, 3]
    check(box.json("show", f"b{result['batch']['id']}"), "batch")
    # One that runs, one that waits, one on the CPU, one canceled.
    runs = box.json("submit", "--vram", "11G", "--ram", "1G", "--", task, "--vram", "2G", "--seconds", "1000")
    check(runs, "task")
    wait_until(lambda: any(h["kind"] == "task" and h["used_bytes"] for g in box.json("gpus")["gpus"] for h in g["holders"]))
    gpus = box.json("gpus")
    check(gpus, "gpus")
    assert all(g["uuid"].startswith("GPU-") and g["name"] and g["pci_bus_id"] for g in gpus["gpus"])
    held = [h for g in gpus["gpus"] for h in g["holders"]]
    assert [(h["kind"], h["allocated_bytes"], len(h["pids"])) for h in held] == [("task", 11 << 30, 1)]
    waits = box.json("submit", "--vram", "10G", "--", "true")
    on_cpu = box.json("submit", "--cpu", "only", "--cpus", "0.5", "--", "true")
    check(waits, "task")
    check(on_cpu, "task")
    assert on_cpu["request"]["cpus"] == 0.5 and waits["request"]["vram_bytes"] == 10 << 30
    wait_until(lambda: box.json("show", on_cpu["id"])["state"] == "done")
    why = box.json("why", waits["id"])
    assert (why["id"], why["state"]) == (waits["id"], "waiting") and "10 GiB" in why["reason"]
    # The one that waits first: it would start where the other one ends.
    canceled = json.loads(box.plimsoll("cancel", "--json", waits["id"], runs["id"], check=0).stdout)
    assert [task["id"] for task in canceled["tasks"]] == [waits["id"], runs["id"]] and canceled["batches"] == []
    ended = json.loads(box.plimsoll("wait", "--json", runs["id"], on_cpu["id"], check=1).stdout)
    for one in ended["tasks"]:
        check(one, "task")
    assert [one["state"] for one in ended["tasks"]] == ["canceled", "done"]
    profiles = box.json("profile", "list")["profiles"]
    assert {p["kind"]: p["runs"] for p in profiles}["true"] == 1 and len(profiles) >= 2
    for profile in profiles:
        check(profile, "profile")
        (shown,) = box.json("profile", "show", profile["kind"])["profiles"]
        check(shown, "profile")
        peaks = [peak for gpu in shown["gpus"] for peak in gpu["vram_peaks"] + gpu["ram_peaks"]]
        assert not list(faults(peaks, [{"bytes": "int", "out_of_memory": "bool"}]))
    tasks = box.json("queue")
    check(tasks, "queue")
    states = {t["id"]: t["state"] for t in tasks["tasks"]}
    assert (states[runs["id"]], states[waits["id"]], states[on_cpu["id"]]) == ("canceled", "canceled", "done")
    for task in tasks["tasks"]:
        shown = box.json("show", task["id"])
        check(shown, "task")
        assert shown == task


def test_plan_check_and_apply(two_gpus):
    """Of a project of whose services one moves, one is left out, one is off, and one is too large."""
    box = two_gpus
    box.file("compose.yaml", """
services:
  llm: {image: i, gpus: [{device_ids: ["${GPU_LLM:-1}"]}], x-plimsoll: {vram: 9G, ram: 1G}}
  clip: {image: i, gpus: all, x-plimsoll: {models: {a: 1G, b: 1G}}}
  unknown: {image: i, gpus: [{count: 1}]}
  off: {image: i, profiles: [big], gpus: [{device_ids: ["0"]}], x-plimsoll: {vram: 5G}}
""")
    plan = box.json("plan")
    check(plan, "plan")
    assert plan["feasible"] and plan["left_out"] and [(s["service"], s["ram_bytes"]) for s in plan["host"]["services"]] == [("llm", 1 << 30)]
    assert [(one["service"], one["profile"]) for one in plan["not_counted"]] == [("off", "big")]
    (one,) = box.json("plan", "--explain", "clip")["assignments"]
    check(one, "plan-explained")
    assert [g["index"] for g in one["candidates"]] == [0, 1] and sum(g["here"] for g in one["candidates"]) == 1
    found = box.json("check", check=1)
    check(found, "check")
    assert {f["severity"] for f in found["findings"]} == {"error", "warning", "info"}
    for options, written in ((["--dry-run"], False), (["--yes"], True), (["--yes"], False)):
        told = box.json("apply", *options)
        check(told, "apply")
        assert told["written"] == written and bool(told["files"]) == bool(told["diff"]) == told["changed"]
    # What does not fit has ways out, each with the plan it leads to.
    plan = box.json("plan", "-f", box.file("large.yaml", "services: {a: &a {image: i, gpus: all, x-plimsoll: {vram: 9G}}, b: *a}\n"), check=1)
    check(plan, "plan")
    assert plan["ways_out"] and all(way["proved"] for way in plan["ways_out"]) and plan["ways_out"][0]["assignments"]


def test_what_is_unknown_is_null(simulated):
    """A GPU that is lost, one whose memory is not reported: null, never 0."""
    box = simulated(scenario="gpus: [{model: rtx-3090, quirks: {memory: unsupported}}, {model: rtx-3070}]\n"
                             "timeline: [{at: 0s, gpu: 1, event: lost, xid: 79}]\n")
    told = wait_until(lambda: (t := box.json("gpus", check=None))["gpus"][1]["health"] == "lost" and t)
    check(told, "gpus")
    gpus = told["gpus"]
    assert gpus[0]["vram"]["total_bytes"] is None and gpus[0]["vram"]["room_bytes"] is None
    assert gpus[1]["utilization_percent"] is None and gpus[1]["temperature_celsius"] is None
