"""Compose projects that mean harm, or are broken: a success, or an error with its place, within a second and 100 MB.

Measured of the verb's own process, as the kernel counts it at its end: CPU time (what a second is on a machine that does
nothing else) and the largest resident memory; address space is limited besides, so that nothing is asked for and left
untouched. The same inputs go through the three fuzz targets of the readers, alone and unmutated.
"""

import json
import os
import re
import sys

import pytest
from conftest import BUILD, SANITIZED

SECOND = 20 if SANITIZED else 1
MEMORY = 100 * 10**6
VERBS = ("check",) if SANITIZED else ("check", "plan")  # what reads is the same
ADDRESSES = 1 << 30  # with the libraries it is linked to, and their threads' stacks
MIB = 1 << 20
GPU = "deploy: {resources: {reservations: {devices: [{driver: nvidia, device_ids: ['0'], capabilities: [gpu]}]}}}"
ONE = "services: {a: {image: x, gpus: all, x-plimsoll: {vram: 1G}}}\n"
# "FILE:LINE:COLUMN: ", or of a file as a whole "FILE is larger than 4 MiB"; of an inventory the path to the value.
PLACE = re.compile(r"[\w./-]+(:\d+(:\d+)?: | is larger than |: gpus\[\d+\]\S* |: \d+ GPUs, at most)")


def bomb(first, last, n, times=9):
    """Each level is `times` the one before."""
    lines = [f"x-0: &a0 [{', '.join(['x'] * times)}]"]
    lines += [f"x-{i}: &a{i} [{', '.join([f'*a{i - 1}'] * times)}]" for i in range(1, n)]
    return first + "\n".join(lines) + "\n" + last.format(n - 1)


def nested(levels):
    return "${A:-" * levels + "x" + "}" * levels


def one_line(n):
    """JSON is YAML, and one line of it is a file."""
    return json.dumps({"services": {f"s{i}": {"image": "x", "gpus": "all"} for i in range(n)}})


def many(n, what=GPU):
    return "services:\n" + "".join(f"  s{i}: {{image: x, {what}}}\n" for i in range(n))


# What the files are, and what is said: None, a success (whatever is found), else words of the error.
PROJECTS = {
    "alias bomb": ({"compose.yaml": bomb("", "services: {{a: {{image: x, gpus: all, security_opt: *a{0}}}}}\n", 12)}, "counted each time"),
    "alias bomb beside": ({"compose.yaml": bomb("", ONE.replace("{", "{{").replace("}", "}}"), 12)}, "counted each time"),
    "merge bomb": ({"compose.yaml": "x-0: &a0 {k: v}\n" + "".join(f"x-{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], k{i}: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 30))
                    + "services: {a: {<<: *a29, image: x}}\n"}, "more than"),
    "anchor in itself": ({"compose.yaml": "services: {a: &a {image: x, deploy: *a}}\n"}, "stands inside the anchor"),
    "include loop": ({"compose.yaml": "include: [b.yaml]\n" + ONE, "b.yaml": "include: [compose.yaml]\n"}, "include cycle detected"),
    "include bomb": ({**{("compose.yaml" if i == 0 else f"{i}.yaml"): f"include: [{i + 1}.yaml, ./{i + 1}.yaml]\nservices: {{s{i}: {{image: x}}}}\n" for i in range(40)},
                      "40.yaml": "services: {}\n"}, "include: more than"),
    "include wide": ({**{("compose.yaml" if i == 0 else f"{i}.yaml"): f"include: [{i + 1}.yaml, ./{i + 1}.yaml]\n" for i in range(20)}, "20.yaml": ONE}, "include: more than"),
    "extends loop": ({"compose.yaml": "services: {a: {image: x, extends: b}, b: {image: x, extends: a}}\n"}, "extends"),
    "extends chain": ({"compose.yaml": "services:\n  s0: {image: x}\n" + "".join(f"  s{i}: {{extends: s{i - 1}}}\n" for i in range(1, 20000))}, "extends: a chain of more than"),
    "100 levels of ${": ({"compose.yaml": f"services: {{a: {{image: '{nested(100)}'}}}}\n"}, "more than 32 variables inside each other"),
    "100 levels of ${ in .env": ({"compose.yaml": ONE, ".env": f"B={nested(100)}\n"}, "more than 32 variables inside each other"),
    "${ without end": ({"compose.yaml": "services: {a: {image: '" + "${A:-" * 200000 + "'}}\n"}, "invalid interpolation format"),
    "many variables": ({"compose.yaml": "services: {a: {image: '" + "${A:-x}" * 200000 + "'}}\n"}, "more than"),
    "doubling .env": ({"compose.yaml": ONE, ".env": "A0=" + "x" * 1000 + "\n" + "".join(f"A{i}=${{A{i - 1}}}${{A{i - 1}}}\n" for i in range(1, 40))}, "grows beyond"),
    "50 MB": ({"compose.yaml": lambda: "# " + "x" * 50 * 10**6 + "\n" + ONE}, "larger than"),
    "50 MB .env": ({"compose.yaml": ONE, ".env": lambda: "A=" + "x" * 50 * 10**6 + "\n"}, "larger than"),
    "50 MB env_file": ({"compose.yaml": "services: {a: {image: x, env_file: big.env}}\n", "big.env": lambda: "A=1\n" * 12_500_000}, "larger than"),
    "a sparse file": ({"compose.yaml": 1 << 40}, "larger than"),
    "NUL in compose": ({"compose.yaml": "services: {a: {image: x\0}}\n"}, ""),
    "NUL in .env": ({"compose.yaml": ONE, ".env": "A=1\nB=x\0y\n"}, ""),
    "all NUL": ({"compose.yaml": "\0" * MIB}, ""),
    "5 MB on one line": ({"compose.yaml": one_line(1) + " " * 5 * 10**6}, "larger than"),
    "one line": ({"compose.yaml": one_line(10000)}, None),
    "one more service": ({"compose.yaml": one_line(10001)}, "10001 services; at most 10000 are read"),
    "one line, values": ({"compose.yaml": one_line(60000)}, "more than"),
    "one line, a scalar": ({"compose.yaml": '{"services": {"a": {"image": "' + "x" * (4 * MIB - 100) + '", "gpus": "all"}}}'}, None),
    "deep lists": ({"compose.yaml": "a: " + "[" * 1_000_000}, "levels deep"),
    "deep maps": ({"compose.yaml": "".join(" " * i + "a:\n" for i in range(2000))}, "levels deep"),
    "many anchors": ({"compose.yaml": "".join(f"x-{i}: &a{i} [*a{i - 1 if i else 0}]\n" for i in range(3000)).replace("[*a0]", "[x]", 1) + ONE}, "more than"),
    "many lines of .env": ({"compose.yaml": ONE, ".env": "".join(f"A{i}=$B{i}\n" for i in range(99000))}, None),
    "comments in .env": ({"compose.yaml": ONE, ".env": "# A=1\n" * 99000}, None),
    "env files": ({"compose.yaml": many(10000, "env_file: a.env"), "a.env": "".join(f"A{i}=1\n" for i in range(50000))}, "64 MiB"),
    "dense depends_on": ({"compose.yaml": many(300, f"depends_on: [{', '.join(f's{i}' for i in range(300))}]")}, "s"),
    "long circle": ({"compose.yaml": "services:\n" + "".join(f"  s{i}: {{image: x, depends_on: [s{(i + 1) % 5000}]}}\n" for i in range(5000))}, "s"),
    "services with a GPU": ({"compose.yaml": many(3000, GPU + ", x-plimsoll: {vram: 1G}")}, ...),
    "services of one variable": ({"compose.yaml": many(9000, "gpus: [{device_ids: ['${GPU:-0}']}]"), ".env": "# GPU=1\nGPUS=1\n"}, None),
    "a variable each": ({"compose.yaml": "services:\n" + "".join(f"  s{i}: {{image: x, gpus: [{{device_ids: ['${{GPU_{i}:-0}}']}}]}}\n" for i in range(6000)), ".env": "# GPU=1\nGPUS=1\n"}, None),
    "services behind one anchor": ({"compose.yaml": "x-g: &g [{device_ids: ['0']}]\n" + many(9000, "gpus: *g")}, None),
    "not UTF-8": ({"compose.yaml": b"services: {a: {image: \xff\xfe\xc0\x80}}\n"}, ""),
    "a folder": ({"compose.yaml": ONE, ".env": None}, ...),
}
INVENTORY = {"gpus": [{"index": i, "uuid": f"GPU-{i}", "vram": {"total_bytes": 24 << 30, "used_bytes": 0}} for i in range(2)]}
INVENTORIES = {
    "deep": ('{"gpus": ' + "[" * 1_000_000, ""),
    "5 MB on one line": ('{"gpus": [' + "1," * 2_500_000 + "1]}", "larger than"),
    "a number each": ('{"gpus": [' + "1," * 400_000 + "1]}", "at most"),
    "empty objects": ('{"gpus": [' + "{}," * 1_000_000 + "{}]}", "more than"),
    "many keys": ('{"gpus": [{' + ",".join(f'"{i}":1' for i in range(300_000)) + "}]}", "missing"),
    "many processes": (json.dumps({"gpus": [{**INVENTORY["gpus"][0], "index": i, "uuid": f"G{i}", "holders": [{"kind": "foreign", "name": "x", "pids": list(range(1, 2000))}]} for i in range(64)]}), "more than"),
    "processes": (json.dumps({"gpus": [{**INVENTORY["gpus"][0], "index": i, "uuid": f"G{i}", "holders": [{"kind": "foreign", "name": "x", "pids": list(range(1, 1000))}]} for i in range(16)]}), None),
}


# A process of its own and a small one: what it has is counted for the one it becomes, too.
MEASURE = """
import json, os, resource, sys
pid = os.fork()
if pid == 0:
    if sys.argv[1] != "0":
        resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
    os.execv(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10]), file=sys.stderr)
"""


def measured(sandbox, argv, cwd):
    """Its status, what it wrote, CPU seconds, and the most memory it ever had."""
    done = sandbox.run(sys.executable, "-S", "-c", MEASURE, 0 if SANITIZED else ADDRESSES, *argv, cwd=cwd, check=0)
    *said, result = done.stderr.splitlines()
    code, cpu, memory = json.loads(result)
    return code, done.stdout + "\n".join(said), cpu, memory


def put(folder, files):
    folder.mkdir()
    for name, text in files.items():
        path = folder / name
        text = text() if callable(text) else text
        if text is None:
            path.mkdir()
        elif isinstance(text, int):
            path.touch()
            os.truncate(path, text)
        else:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())


def within(name, cpu, memory):
    print(f"{name}: {cpu:.2f} s, {memory / 10**6:.0f} MB")
    assert cpu < SECOND, f"{name}: {cpu:.2f} s"
    assert SANITIZED or memory < MEMORY, f"{name}: {memory / 10**6:.0f} MB"


def run(sandbox, folder, what, verb, told, inventory):
    code, said, cpu, memory = measured(sandbox, [BUILD / "plimsoll", verb, "--inventory", inventory], folder)
    within(f"{verb}, {what}", cpu, memory)
    if told is None:
        assert code in (0, 1), said[:500]
    elif told is not ...:
        assert code == 3 and told in said, said[:500]
    assert code in (0, 1, 3)
    if code == 3:
        assert len(said) < 4096 and PLACE.search(said), said[:500]


@pytest.mark.parametrize("what", PROJECTS)
def test_projects(sandbox, what):
    files, told = PROJECTS[what]
    folder = sandbox.dir / "p"
    put(folder, files)
    sandbox.file("i.json", INVENTORY)
    for verb in VERBS:
        run(sandbox, folder, what, verb, told, sandbox.dir / "i.json")


@pytest.mark.parametrize("what", INVENTORIES)
def test_inventories(sandbox, what):
    text, told = INVENTORIES[what]
    folder = sandbox.dir / "p"
    put(folder, {"compose.yaml": ONE})
    sandbox.file("i.json", text)
    for verb in VERBS:
        run(sandbox, folder, what, verb, told, sandbox.dir / "i.json")


def text_of(files):
    """As the target for projects takes them: the files after each other, each below its name."""
    return b"\n".join(f"@@ /p/{name}\n".encode() + (text if isinstance(text, bytes) else text.encode()) for name, text in files.items())


def fuzz_inputs():
    for what, (files, _) in PROJECTS.items():
        if all(isinstance(text, (str, bytes)) for text in files.values()):
            yield "compose_project", what, text_of(files)
            if ".env" in files:
                yield "compose_dotenv", what, files[".env"].encode()
    for what, text in {
        "100 levels": nested(100), "3000 levels": nested(3000), "without end": "${A:-" * 200000, "many": "${A:-x}" * 200000,
        "dollars": "$" * 4 * MIB, "nothing in it": "${}" * MIB, "doubled by itself": "x" * MIB + "\n" + "$A" * 9000,
    }.items():
        yield "compose_interpolate", what, (text if "\n" in text else "a\n" + text).encode()


@pytest.mark.parametrize("target, what, data", fuzz_inputs(), ids=lambda value: value if isinstance(value, str) else "")
def test_readers(sandbox, target, what, data):
    """What the verbs are built of, on the same inputs: nothing of the command line is in the way there."""
    program = BUILD / "tests" / "fuzz" / f"fuzzed-{target}"
    if not program.exists():
        pytest.skip(f"{program} is not built")
    put(sandbox.dir / "seeds", {"seed": data})
    code, said, cpu, memory = measured(sandbox, [program, sandbox.dir / "seeds", 0], sandbox.dir)
    assert code == 0 and "ok 1 - seed" in said, said
    within(f"{target}, {what}", cpu, memory)
