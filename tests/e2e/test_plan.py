"""`plimsoll plan`: story S1 to the number, a machine that is here, and one that is a file."""

import json
import shutil

import pytest
from conftest import ROOT, wait_until
from test_json_names import check

GIB = 1 << 30
MIB = 1 << 20


@pytest.fixture
def nem(sandbox):
    """The project of S1 as it was found."""
    shutil.copytree(ROOT / "examples" / "nem-3900", sandbox.dir / "nem")

    def plan(*args, check=1, **options):
        return sandbox.plimsoll("plan", "--inventory", "inventory.json", *args, check=check, cwd=sandbox.dir / "nem", **options)

    return plan


def gib(value):
    return round(value / GIB, 2)


def where(assignments):
    return {a["service"]: [g["index"] for g in a["gpus"]] for a in assignments}


def test_s1_in_numbers(nem):
    plan = json.loads(nem("--json").stdout)
    check(plan, "plan")
    assert not plan["feasible"] and plan["proved"] and plan["assignments"] == []
    assert gib(plan["needed_bytes"]) == 28.51 and gib(plan["total_bytes"]) == 27.99
    assert "6 services need 28.51 GiB" in plan["reason"]
    way = plan["ways_out"][0]
    assert [(c["service"], c["model"], c["action"]) for c in way["changes"]] == [("ai-enrichment", None, "on-demand")]
    assert [gib(g["planned_bytes"]) for g in way["gpus"]] == [19.46, 3.05]
    assert [round(g["planned_percent"]) for g in way["gpus"]] == [81, 76]
    assert [round(g["today_bytes"] / g["total_bytes"] * 100, 1) for g in plan["gpus"]] == [96.7, 7.5]
    places = where(way["assignments"])
    assert {name for name, gpus in places.items() if gpus == [0]} == {"ai-llm", "ai-florence", "ai-enrichment"}
    assert {name for name, gpus in places.items() if gpus == [1]} == {"ai-yolo26", "ai-clip", "ai-enrichment-light"}
    # What may stay of it, in the room that is left above the other two.
    assert "3.33 GiB" in way["reason"] and "may stay" in way["reason"]
    assert [a["service"] for a in way["assignments"] if a["moved"]] == ["ai-yolo26", "ai-clip", "ai-enrichment"]
    # Single models come later.
    models = [i for i, w in enumerate(plan["ways_out"]) if all(c["model"] for c in w["changes"])]
    assert models and models[0] > 0


def test_s1_for_people(nem):
    for columns in ("80", "200"):
        text = nem(env={"COLUMNS": columns}).stdout
        assert max(map(len, text.splitlines())) <= 80 if columns == "80" else True
        flat = " ".join(text.split())
        for words in (
            "Not everything fits: 6 services need 28.51 GiB",
            "23.20 97 % ai-llm 19.30, ai-florence 1.66",
            "19.46 81 % ai-llm 18.00, ai-florence 1.46, +ai-enrichment (on demand)",
            "3.05 76 % +ai-clip 1.20, ai-enrichment-light 1.20, +ai-yolo26 0.65",
            "1 ai-enrichment (6 GiB) loads on demand",
            "compose.yaml:97:7: ai-enrichment: uses 154 MiB, far less than the 6 GiB it is said to need",
        ):
            assert words in flat, (columns, words)


def test_a_way_out_is_taken(nem):
    ways = json.loads(nem("--json").stdout)["ways_out"]
    for number, way in enumerate(ways, 1):
        plan = json.loads(nem("--way-out", number, "--json", check=0).stdout)
        check(plan, "plan")
        assert plan["way_out"] == number and not plan["feasible"]
        assert plan["assignments"] == way["assignments"] and plan["gpus"] == way["gpus"]
        for gpu in plan["gpus"]:
            assert gpu["planned_bytes"] <= gpu["load_line_bytes"]
        kept = {a["service"]: a["vram_bytes"] for a in plan["assignments"]}
        for change in way["changes"]:
            if change["action"] != "bigger-gpu":
                assert kept[change["service"]] < next(
                    a["declared_bytes"] for a in plan["assignments"] if a["service"] == change["service"]
                )
    bigger = next(n for n, w in enumerate(ways, 1) if w["changes"][0]["action"] == "bigger-gpu")
    assert "with 6.32 GiB, load line 6.00" in nem("--way-out", bigger, check=0).stdout
    assert "Taken: ai-enrichment (6 GiB) loads on demand" in nem("--way-out", 1, check=0).stdout
    assert f"there are {len(ways)} ways out" in nem("--way-out", 8, check=2).stderr


def test_one_service_explained(nem):
    text = " ".join(nem("--explain", "ai-enrichment").stdout.split())
    assert "needs 6.00 GiB, said at compose.yaml:97:7: vehicle-segmentation 1.50" in text
    assert "today GPU 1, uses 0.15 GiB" in text and "files 1 (reservation, commented, compose.yaml:94:28)" in text
    assert "way out 1:" in text and "GPU 0: here" in text
    assert "is ai-enrichment meant?" in nem("--explain", "ai-enrichmnt", check=2).stderr
    assert "asks for no GPU" in nem("--explain", "postgres", check=2).stderr


def test_one_service_explained_as_json(nem):
    plan = json.loads(nem("--explain", "ai-clip", "--json").stdout)
    check(plan, "plan")
    assert plan["way_out"] == 1 and [a["service"] for a in plan["assignments"]] == ["ai-clip"]
    assert [g["index"] for g in plan["assignments"][0]["gpus"]] == [1]
    first, second = plan["assignments"][0]["candidates"]
    assert (first["index"], first["here"], second["index"], second["here"], second["possible"]) == (0, False, 1, True, True)
    assert second["uuid"] == plan["gpus"][1]["uuid"] and "% used with it" in second["reason"]
    assert nem("--explain", "ai-clipp", "--json", check=2).stdout == ""


def test_who_may_not_meet_is_explained(two_gpus):
    two_gpus.file("compose.yaml", APART)
    text = two_gpus.plimsoll("plan", "--explain", "clip").stdout
    assert "GPU 0: not with llm, which is there" in text and "GPU 1: here" in text
    plan = two_gpus.json("plan", "--explain", "clip")
    assert [c["possible"] for c in plan["assignments"][0]["candidates"]] == [False, True]


def test_a_gpu_replaced_keeps_no_reserve(sandbox):
    """What its way says, and what is drawn and written, is one."""
    sandbox.file("compose.yaml", KEPT)
    gpu = {"index": 0, "uuid": "GPU-0", "name": "A", "vram": {"total_bytes": 10 * GIB, "used_bytes": 0, "free_bytes": 10 * GIB, "reserve_bytes": 0}}
    sandbox.file("inv.json", json.dumps({"gpus": [gpu]}))
    way = sandbox.json("plan", "--inventory", "inv.json", check=1)["ways_out"][0]
    assert way["proved"] and way["changes"][0]["bytes"] == 20 * GIB
    assert [(g["total_bytes"], g["load_line_bytes"], g["planned_bytes"]) for g in way["gpus"]] == [(20 * GIB,) * 3]


KEPT = """
services:
  a: {image: i, gpus: all, x-plimsoll: {vram: 10G, keep: true}}
  b: {image: i, gpus: all, x-plimsoll: {vram: 10G, keep: true}}
"""

APART = """
services:
  llm: {image: i, gpus: all, x-plimsoll: {vram: 5G, gpu: 0}}
  clip: {image: i, gpus: all, x-plimsoll: {vram: 2G, not-with: [llm]}}
"""

TWO = """
services:
  llm: {image: i, gpus: all, x-plimsoll: {vram: 10G}}
  clip: {image: i, gpus: all, x-plimsoll: {vram: 2G, avoid: rtx-5070}}
  unknown: {image: i, gpus: [{count: 1}]}
  web: {image: i}
"""


def test_on_the_machine_that_is_here(two_gpus):
    box = two_gpus
    box.file("compose.yaml", TWO)
    plan = box.json("plan")
    check(plan, "plan")
    assert plan["feasible"] and plan["proved"] and plan["ways_out"] == []
    assert where(plan["assignments"]) == {"llm": [0], "clip": [1]}
    assert [g["uuid"] for g in plan["gpus"]] == [g["uuid"] for g in box.json("gpus")["gpus"]]
    assert [one["service"] for one in plan["left_out"]] == ["unknown"]
    assert any("asks for all GPUs" in w for w in plan["warnings"])
    text = box.plimsoll("plan", check=0).stdout
    assert "Everything with a known need fits, nothing moves" in text and "1 service is not counted" in " ".join(text.split())
    assert "unknown: no VRAM known" in text and "plimsoll apply writes this" in text
    assert "no VRAM known" in box.plimsoll("plan", "--explain", "unknown", check=1).stderr
    packed = box.json("plan", "--objective", "pack", "-f", box.file("small.yaml", TWO.replace("10G", "1G").replace("avoid", "prefer")))
    assert packed["objective"] == "pack" and len({g["index"] for a in packed["assignments"] for g in a["gpus"]}) == 1


def test_an_inventory_is_the_same_machine(two_gpus):
    box = two_gpus
    box.file("compose.yaml", TWO)
    box.file("inventory.json", box.plimsoll("gpus", "--json", check=0).stdout)
    here, there = box.json("plan"), box.json("plan", "--inventory", "inventory.json")
    assert here["assignments"] == there["assignments"] and here["gpus"] == there["gpus"]
    piped = box.json("plan", "--inventory", "-", input=(box.dir / "inventory.json").read_text())
    assert piped["gpus"] == there["gpus"]


def test_plimsoll_yaml_beside_the_project(two_gpus):
    box = two_gpus
    (box.dir / "project").mkdir()
    box.file("project/compose.yaml", TWO)
    box.file(
        "project/plimsoll.yaml",
        "gpus: [{gpu: 0, reserve: 4G}]\nservices: {llm: {vram: 7G}, unknown: {vram: 1G}, lllm: {vram: 1G}}\n",
    )
    plan = box.json("plan", "-f", "project/compose.yaml")
    assert {a["service"]: a["declared_bytes"] for a in plan["assignments"]} == {
        "llm": 7 * GIB, "clip": 2 * GIB, "unknown": GIB
    }
    assert plan["gpus"][0]["total_bytes"] - plan["gpus"][0]["load_line_bytes"] == 4 * GIB
    assert any('plimsoll.yaml:2:56: the project has no service "lllm"' in w for w in plan["warnings"])
    box.file("project/plimsoll.yaml", "gpus: [{gpu: 0, role: off}]\nservices: {llm: {vram: 5G}}\n")
    plan = box.json("plan", "-f", "project/compose.yaml")
    assert where(plan["assignments"]) == {"llm": [1], "clip": [1]} and not plan["gpus"][0]["usable"]
    assert "nothing is planned here: switched off by" in box.plimsoll("plan", "-f", "project/compose.yaml", check=0).stdout
    box.file("project/plimsoll.yaml", "services:\n  llm: {vrm: 5G}\n")
    said = box.plimsoll("plan", "-f", "project/compose.yaml", check=3).stderr
    assert 'project/plimsoll.yaml:2:9: unknown key "vrm"' in said


def test_a_drained_gpu_gets_nothing(two_gpus):
    box = two_gpus
    box.file("compose.yaml", "services: {clip: {image: i, gpus: all, x-plimsoll: {vram: 2G}}}")
    assert where(box.json("plan")["assignments"]) == {"clip": [0]}
    assert not list(box.dir.rglob("api.sock")), "a daemon was started to look"
    box.plimsoll("gpus", "drain", "0", "--reason", "the fan is loud", check=0)
    assert list(box.dir.rglob("api.sock"))
    assert where(box.json("plan")["assignments"]) == {"clip": [1]}
    assert "nothing is planned here: drained since" in (text := box.plimsoll("plan", check=0).stdout) and "the fan is loud" in text


def test_what_others_use_is_taken_into_account(simulated):
    box = simulated(gpus="rtx-5070-ti,rtx-2080-super")
    box.file("compose.yaml", "services: {llm: {image: i, gpus: all, x-plimsoll: {vram: 7G}}}")
    other = box.start(box.build / "plimsoll-simtask", "--vram", "6G", "--seconds", "1000", env={"CUDA_VISIBLE_DEVICES": "0"})
    wait_until(lambda: box.json("gpus")["gpus"][0]["vram"]["used_bytes"] >= 6 * GIB)
    plan = box.json("plan")
    assert where(plan["assignments"]) == {"llm": [1]} and plan["gpus"][0]["foreign_bytes"] >= 6 * GIB
    assert "others 6." in box.plimsoll("plan", check=0).stdout
    other.kill()


@pytest.mark.parametrize(
    "text, code, told",
    [
        ("", 3, "not valid JSON"),
        ("{}", 3, 'there are no "gpus" in it; make one with plimsoll gpus --json'),
        ('{"gpus": [{"index": 0}]}', 3, "gpus[0].uuid is missing"),
    ],
)
def test_what_is_no_inventory(sandbox, text, code, told):
    sandbox.file("compose.yaml", TWO)
    sandbox.file("i.json", text)
    assert told in sandbox.plimsoll("plan", "--inventory", "i.json", check=code).stderr


def test_what_cannot_be_planned(sandbox):
    box = sandbox
    assert "compose" in box.plimsoll("plan", check=3).stderr
    box.file("compose.yaml", TWO)
    assert "--inventory FILE takes the GPUs of a file" in box.plimsoll("plan", check=3).stderr
    box.file("compose.yaml", "services:\n  a: {image: i, gpus: all, x-plimsoll: {vram: 6}}\n")
    inventory = ROOT / "examples" / "nem-3900" / "inventory.json"
    said = box.plimsoll("plan", "--inventory", inventory, check=3).stderr
    assert 'compose.yaml:2:47: size "6" has no unit' in said
    box.file("compose.yaml", "services: {a: {image: i, gpus: all, x-plimsoll: {vram: 1G, gpu: 7}}}\n")
    assert 'a is for GPU "7" only, which is not there' in box.plimsoll("plan", "--inventory", inventory, check=3).stderr
    box.file("compose.yaml", "services: {a: {image: i, gpus: all, x-plimsoll: {vram: 100G}}}\n")
    told = box.json("plan", "--inventory", inventory, check=1)
    assert told["ways_out"] and "a needs 100 GiB on a GPU" in told["reason"]


def test_services_by_the_names_of_their_containers(sandbox):
    """In an inventory services have the names the engines give, in both ways of writing, one of the file's own, or PROJECT/SERVICE."""
    box = sandbox
    box.file(
        "compose.yaml",
        "name: x\nservices:\n  a: {image: i, gpus: all}\n  b: {image: i, gpus: all}\n"
        "  c: {image: i, gpus: all, container_name: mine}\n  d: {image: i, gpus: all}\n  e: {image: i, gpus: all}\n",
    )
    holders = [("service", "x-a-1", 4), ("service", "x-a-2", 3), ("service", "x_b_1", 2), ("service", "mine", 1), ("service", "x/e", 6), ("service", "x/e 2", 7), ("service", "x/e (run)", 1),
               ("service", "y-d-1", 5), ("foreign", "x-d-1", 5)]
    box.file("i.json", {"gpus": [{
        "index": 0, "uuid": "GPU-0", "name": "NVIDIA RTX A5500",
        "vram": {"total_bytes": 48 * GIB, "used_bytes": 35 * GIB},
        "holders": [{"kind": k, "name": n, "pids": [i + 1], "used_bytes": size * GIB} for i, (k, n, size) in enumerate(holders)],
    }]})
    plan = box.json("plan", "--inventory", "i.json")
    assert {a["service"]: a["measured_bytes"] // GIB for a in plan["assignments"]} == {"a": 4, "b": 2, "c": 1, "e": 7}
    assert [one["service"] for one in plan["left_out"]] == ["d"]
    assert plan["gpus"][0]["foreign_bytes"] == 12 * GIB


def test_the_project_may_say_it_all(two_gpus):
    """x-plimsoll at the top: what plimsoll.yaml says about GPUs and services. The file beside comes before it."""
    box = two_gpus
    (box.dir / "p").mkdir()
    top = "x-plimsoll:\n  gpus: [{gpu: 0, reserve: 3G}]\n  services: {llm: {vram: 6G}, unknown: {vram: 1G}, lm: {vram: 1G}}\n"
    box.file("p/compose.yaml", TWO + top)
    plan = box.json("plan", "-f", "p/compose.yaml")
    assert {a["service"]: a["declared_bytes"] // GIB for a in plan["assignments"]} == {"llm": 6, "clip": 2, "unknown": 1}
    assert plan["gpus"][0]["total_bytes"] - plan["gpus"][0]["load_line_bytes"] == 3 * GIB
    assert any('compose.yaml:9:56: the project has no service "lm"' in w for w in plan["warnings"])
    box.file("p/plimsoll.yaml", "services: {llm: {keep: true, vram: 5G}}")
    plan = box.json("plan", "-f", "p/compose.yaml")
    assert plan["assignments"][0]["declared_bytes"] == 5 * GIB
    box.file("p/compose.yaml", TWO + "x-plimsoll: {users: {}}\n")
    assert 'compose.yaml:7:14: unknown key "users"' in box.plimsoll("plan", "-f", "p/compose.yaml", check=3).stderr


def machine(*gpus):
    """An inventory of GPUs: (name, GiB)."""
    return {"gpus": [
        {"index": i, "uuid": f"GPU-{i}", "name": name, "vram": {"total_bytes": int(size * GIB), "used_bytes": 0}} for i, (name, size) in enumerate(gpus)
    ]}


LARGE_AND_SMALL = machine(("NVIDIA GeForce RTX 3090", 24), ("NVIDIA GeForce RTX 3070", 8))


def test_a_variable_that_is_not_set_is_planned_and_written(sandbox):
    """A GPU is asked for all the same: in a list, for a CDI device, for the runtime."""
    ids = "deploy: {resources: {reservations: {devices: [{driver: nvidia, device_ids: ['${GPU_A}'], capabilities: [gpu]}]}}}"
    box = sandbox
    box.file("compose.yaml", "services:\n"
             f"  a: {{image: x, {ids}, x-plimsoll: {{vram: 18G}}}}\n"
             "  b: {image: x, devices: ['nvidia.com/gpu=${GPU_B}'], x-plimsoll: {vram: 3G}}\n"
             "  c: {image: x, runtime: nvidia, environment: ['NVIDIA_VISIBLE_DEVICES=${GPU_C}'], x-plimsoll: {vram: 1G}}\n")
    env = box.file(".env", "# GPU_A=1\n#GPU_B=0\n")
    box.file("i.json", LARGE_AND_SMALL)
    plan = box.json("plan", "--inventory", "i.json", check=0)
    assert where(plan["assignments"]) == {"a": [0], "b": [1], "c": [1]} and plan["left_out"] == []
    assert "asks for no GPU" not in str(plan["warnings"])
    box.plimsoll("apply", "--inventory", "i.json", "--yes", check=0)
    assert [line.split(" #")[0] for line in env.read_text().splitlines() if "=" in line] == ["GPU_A=0", "GPU_B=1", "GPU_C=1"]
    assert env.read_text().startswith("GPU_A=0\nGPU_B=1\n")
    assert "nothing to do" in box.plimsoll("apply", "--inventory", "i.json", "--yes", check=0).stderr


@pytest.mark.parametrize("said, reason, explained", [
    ("forbid: [0, '3070']", "a may use no GPU that is here: GPU 0 is ruled out by `forbid: 0`, GPU 1 is ruled out by `forbid: 3070`",
     "not allowed: `forbid: 0`"),
    ("gpu: 3070, forbid: [1]", "GPU 0 is ruled out by `gpu: 3070`, GPU 1 is ruled out by `forbid: 1`", "not allowed: `gpu: 3070`"),
    ("min-compute-capability: 9.0", "GPUs 0 and 1 are ruled out by `min-compute-capability: 9.0` (it has 8.6)",
     "not allowed: `min-compute-capability: 9.0` (it has 8.6)"),
    ("gpus: 3", "a needs 3 different GPUs at once and may use 2 of the 2 here; `gpus: 2` under x-plimsoll", "GPU 0"),
    ("gpus: 2, forbid: [1]", "a needs 2 different GPUs at once and may use 1 of the 2 here: GPU 1 is ruled out by `forbid: 1`", "GPU 0"),
])
def test_the_rule_that_is_in_the_way_is_named(sandbox, said, reason, explained):
    box = sandbox
    gpus = {"gpus": [dict(gpu, compute_capability="8.6") for gpu in LARGE_AND_SMALL["gpus"]]}
    box.file("i.json", gpus)
    box.file("compose.yaml", "services: {a: {image: i, gpus: [{device_ids: ['0']}], x-plimsoll: {vram: 5G, %s}}}\n" % said)
    plan = box.json("plan", "--inventory", "i.json", check=1)
    assert reason in plan["reason"]
    flat = " ".join(box.plimsoll("plan", "--inventory", "i.json", "--explain", "a", check=1).stdout.split())
    assert explained in flat


def test_what_is_not_there_is_said(sandbox):
    """A size without a use, a way out that is not needed, a folder called compose.yaml."""
    box = sandbox
    gpus = {"gpus": [dict(gpu, vram={"total_bytes": gpu["vram"]["total_bytes"]}) for gpu in LARGE_AND_SMALL["gpus"]]}
    box.file("i.json", gpus)
    compose = box.file("compose.yaml", "services: {a: {image: i, gpus: [{device_ids: ['0']}], x-plimsoll: {vram: 20G}}}\n")
    plan = box.json("plan", "--inventory", "i.json", check=0)
    assert where(plan["assignments"]) == {"a": [0]}
    assert "the inventory does not say what is used of GPUs 0, 1: it is taken for nothing" in plan["warnings"]
    assert "--way-out 3 is not needed" in box.plimsoll("plan", "--inventory", "i.json", "--way-out", "3", check=0).stderr
    compose.unlink()
    compose.mkdir()
    assert "(compose.yaml there is a folder)" in box.plimsoll("plan", "--inventory", "i.json", check=3).stderr
    compose.rmdir()
    compose.symlink_to("compose.yaml")
    assert "compose.yaml there is a link that cannot be followed" in box.plimsoll("plan", "--inventory", "i.json", check=3).stderr


def test_what_loads_on_demand_can_load_there(sandbox):
    box = sandbox
    box.file("i.json", LARGE_AND_SMALL)
    box.file("compose.yaml", """
services:
  a: {image: i, gpus: [{device_ids: ['0']}], x-plimsoll: {vram: 20G}}
  b: {image: i, gpus: [{device_ids: ['0']}], x-plimsoll: {vram: 12G, on-demand: true}}
  c: {image: i, gpus: [{device_ids: ['0']}], x-plimsoll: {models: {x: 6G, y: 6G}, on-demand: true}}
""")
    plan = box.json("plan", "--inventory", "i.json")
    assert where(plan["assignments"]) == {"a": [0], "b": [0], "c": [1]}
    assert "over-gpu-size" not in box.plimsoll("check", "--inventory", "i.json").stdout
    box.file("compose.yaml", "services: {b: {image: i, gpus: all, x-plimsoll: {vram: 23G, on-demand: true}}}")
    plan = box.json("plan", "--inventory", "i.json", check=1)
    assert "b needs 23 GiB on a GPU when it loads" in plan["reason"] and "GPU 0 has 22.8 GiB, GPU 1 has 7.6" in plan["reason"]


@pytest.mark.parametrize("said, gpus, shown", [("", [0, 1], "2 x 5.00"), (", replicas: together", [0], "2 x 5.00"), (", replicas: spread", [0, 1], "2 x 5.00")])
def test_replicas(sandbox, said, gpus, shown):
    box = sandbox
    box.file("i.json", LARGE_AND_SMALL)
    for ids in ("'0'", "'0', '1'"):
        box.file("compose.yaml", "services:\n  a: {image: i, gpus: [{device_ids: [%s]}], deploy: {replicas: 2}, x-plimsoll: {vram: 5G%s%s}}\n"
                 % (ids, said, ", gpus: 1" if "together" in said else ""))
        plan = box.json("plan", "--inventory", "i.json", check=0)
        assert where(plan["assignments"]) == {"a": gpus}, ids
        assert shown in box.plimsoll("plan", "--inventory", "i.json", check=0).stdout
        assert any("on a GPU of its own" in w for w in plan["warnings"]) == ("together" not in said)
    assert plan["gpus"][0]["planned_bytes"] == (10 if "together" in said else 5) * GIB


def test_names_are_clean_on_a_terminal(sandbox):
    box = sandbox
    evil = "\x1b[2J\x1b]0;pwn\x07\u202e"
    box.file("i.json", machine((f"RTX {evil}", 24), ("RTX 3070", 8)))
    spelled = '"a\\e[2J\\e]0;pwn\\a\\u202e"'
    box.file("compose.yaml", f"services:\n  {spelled}: {{image: i, gpus: all, x-plimsoll: {{vram: 5G, prefer: {spelled}, not-with: [{spelled}]}}}}\n"
             f"  {spelled[:-1]}x\": {{image: i, profiles: [{spelled}], gpus: [{{device_ids: ['0']}}], x-plimsoll: {{vram: 5G}}}}\n"
             f"  {spelled[:-1]}y\": {{image: i, gpus: all}}\n")
    name = "a\x1b[2J\x1b]0;pwn\x07\u202e"
    for args, code in (([], 0), (["--explain", name], 0), (["--explain", name + "z"], 2), (["--objective", name], 2), (["-f", name], 3)):
        for columns in ("70", "200"):
            done = box.plimsoll("plan", "--inventory", "i.json", *args, check=code, env={"COLUMNS": columns})
            for text in (done.stdout, done.stderr):
                assert not set(text) & {"\x1b", "\x07", "\u202e"}, (args, text)
    done = box.plimsoll("check", "--inventory", "i.json")
    assert not set(done.stdout + done.stderr) & {"\x1b", "\x07", "\u202e"}


def test_services_of_profiles_that_are_off_are_named(sandbox):
    box = sandbox
    box.file("i.json", LARGE_AND_SMALL)
    box.file("compose.yaml", """
services:
  a: {image: i, profiles: [big], gpus: [{device_ids: ['0']}], x-plimsoll: {vram: 20G}}
  b: {image: i, gpus: [{device_ids: ['1']}], x-plimsoll: {vram: 5G}}
  c: {image: i, profiles: [big], gpus: all, x-plimsoll: {vram: 1G}}
""")
    plan = box.json("plan", "--inventory", "i.json")
    assert [(o["service"], o["profile"], o["vram_bytes"] // GIB, [g["index"] for g in o["gpus"]]) for o in plan["not_counted"]] == [("a", "big", 20, [0])]
    line = "a (profile big, 20 GiB on GPU 0); --profile big counts it"
    assert line in box.plimsoll("plan", "--inventory", "i.json", check=0).stdout
    assert "not counted: " + line in " ".join(box.plimsoll("apply", "--inventory", "i.json", "--dry-run", check=0).stderr.split())
    assert box.json("plan", "--inventory", "i.json", "--profile", "big")["not_counted"] == []


def test_ram_of_the_host(sandbox):
    """Summed beside the host's, for plan a warning, for check a fault; an inventory without it says nothing."""
    box = sandbox
    machine = json.loads(LARGE_AND_SMALL) if isinstance(LARGE_AND_SMALL, str) else LARGE_AND_SMALL
    box.file("i.json", {**machine, "host": {"ram_total_bytes": 64 * GIB, "ram_available_bytes": 40 * GIB}})
    box.file("none.json", machine)
    text = """
services:
  llm: {image: i, gpus: [{device_ids: ['0']}], x-plimsoll: {vram: 5G, ram: %s}}
  db: {image: i, deploy: {replicas: 2}, x-plimsoll: {ram: 10G, priority: -1}}
"""
    box.file("compose.yaml", text % "30G")
    plan = box.plimsoll("plan", "--inventory", "i.json", check=0).stdout
    assert "Host RAM 64 GiB, 40 GiB available now; services say 50 GiB: llm 30 GiB, db 20 GiB" in " ".join(plan.split()) and "Warnings" not in plan
    box.plimsoll("check", "--inventory", "i.json", "--fail-on", "error", check=0)
    assert "Host RAM not known; services say 50 GiB" in " ".join(box.plimsoll("plan", "--inventory", "none.json", check=0).stdout.split())
    box.file("compose.yaml", text % "50G")
    said = "2 services say to need 70 GiB of the host's RAM (llm 50 GiB, db 20 GiB), which has 64 GiB: 6 GiB less"
    told = box.json("plan", "--inventory", "i.json")
    assert told["warnings"] == [said + "; by priority db (20 GiB) yields first"]
    assert told["host"] == {"ram_total_bytes": 64 * GIB, "ram_available_bytes": 40 * GIB, "ram_said_bytes": 70 * GIB, "services": [
        {"service": "llm", "ram_bytes": 50 * GIB, "ram_used_bytes": None}, {"service": "db", "ram_bytes": 20 * GIB, "ram_used_bytes": None}]}
    found = [f for f in box.json("check", "--inventory", "i.json", check=1)["findings"] if f["code"] == "ram-over-host"]
    assert [(f["severity"], f["line"], f["service"], f["message"]) for f in found] == [("error", 4, "db", said)]
    assert "ram-over-host" not in box.plimsoll("check", "--inventory", "none.json").stdout
    # Nobody says anything: no line.
    box.file("compose.yaml", "services: {llm: {image: i, gpus: all, x-plimsoll: {vram: 5G}}}\n")
    assert "RAM" not in box.plimsoll("plan", "--inventory", "i.json", check=0).stdout


def test_ram_of_the_host_that_is_here(two_gpus):
    """More than the machine has, whatever machine that is; `gpus` tells of the same one, without a daemon and with one."""
    box = two_gpus
    box.file("compose.yaml", "services: {llm: {image: i, gpus: all, x-plimsoll: {vram: 5G, ram: 250T}}}\n")
    total = next(int(line.split()[1]) << 10 for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    plan = box.json("plan")
    assert plan["host"]["ram_total_bytes"] == total and any("says to need 256000 GiB of the host" in w for w in plan["warnings"])
    assert "ram-over-host" in box.plimsoll("check", check=1).stdout
    alone = box.json("gpus")["host"]
    box.plimsoll("serve", "--background", check=0)
    served = box.json("gpus")["host"]
    for host in (alone, served):
        assert set(host) == {"ram_total_bytes", "ram_available_bytes", "ram_room_bytes", "cpus"}
        assert 0 < host["ram_available_bytes"] < host["ram_total_bytes"] <= total and host["cpus"] > 0
    assert alone["ram_total_bytes"] == served["ram_total_bytes"]


BAD = {
    "no such file": ["-f", "gone.yaml"],
    "YAML": "services: [",
    "a NUL byte": "services: {}\n\0",
    "a value": "services: {a: {image: i, gpus: all, x-plimsoll: {vram: 6}}}",
    "include": "include: [gone.yaml]\nservices: {a: {image: i}}",
    "extends": "services: {a: {image: i, extends: {service: b}}, b: {image: i, extends: {service: a}}}",
    "a cycle": "services: {a: {image: i, depends_on: [b]}, b: {image: i, depends_on: [a]}}",
    "env file": ["--env-file", "gone.env"],
    "no inventory": ["--inventory", "gone.json"],
    "JSON": ["--inventory", "compose.yaml"],
    "too many": "services:\n" + "".join(f"  s{i}: {{image: i, gpus: all, x-plimsoll: {{vram: 1M}}}}\n" for i in range(300)),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("verb", ["plan", "check", "apply"])
def test_status_3_is_what_cannot_be_read(sandbox, verb, what):
    """2 is for options alone. A project of 300 services can be checked, and is too large to be planned."""
    box, bad = sandbox, BAD[what]
    box.file("i.json", LARGE_AND_SMALL)
    box.file("compose.yaml", bad if isinstance(bad, str) else "services: {a: {image: i}}")
    args = [*([] if "--inventory" in bad else ["--inventory", "i.json"]), *([] if isinstance(bad, str) else bad)]
    done = box.plimsoll(verb, *args)
    if what == "too many" and verb == "check":
        assert done.returncode == 0 and "does-not-fit" not in done.stdout
        return
    assert done.returncode == 3 and done.stderr.startswith("plimsoll: "), done
    if what == "too many":
        assert "compose.yaml:258:" in done.stderr and "at most 256" in done.stderr
    assert box.plimsoll(verb, "--objectives").returncode == 2


def test_streams_of_the_command_line_are_read(sandbox):
    box = sandbox
    box.file("i.json", LARGE_AND_SMALL)
    box.file("compose.yaml", "services: {a: {image: i, gpus: [{device_ids: ['${G:-0}']}], x-plimsoll: {vram: '${V:-5G}'}}}")
    box.file(".env", "V=6G\n")
    plan = f"{box.build}/plimsoll plan --inventory i.json --json"
    size = lambda words: json.loads(box.run("bash", "-c", words, check=0).stdout)["assignments"][0]["vram_bytes"] // GIB
    assert size(f"{plan} --env-file /dev/null") == 5
    assert size(f"{plan} --env-file <(echo V=7G)") == 7
    assert size(f"{plan} -f <(cat compose.yaml) --project-directory . --project-name x") in (5, 6)
    assert "larger than" in box.run("bash", "-c", f"{plan} --env-file /dev/zero", check=3).stderr
    box.file("compose.yaml", "include: [/dev/null]\nservices: {a: {image: i}}")
    assert "is a pipe, a socket or a device" in box.plimsoll("plan", "--inventory", "i.json", check=3).stderr
