"""The projects of tests/cases/projects/: each a folder to read, and what is to be found in it (expected.json).

A request is told as how it is written, what it says, where that comes from, where it stands; `edits` are the bytes to
change for another GPU, one for each device it names (null: not in its place; the shell says it, or the form has to change).
"""

import json
import shutil
import subprocess

import pytest
from test_compose_config import DUMP, EXAMPLES, FINDINGS

PROJECTS = sorted(path.parent.name for path in EXAMPLES.glob("*/expected.json"))


def dump(folder, case, *more):
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **FINDINGS, **case["shell"]}
    done = subprocess.run([DUMP, *case["args"], *more], cwd=folder, env=env, text=True, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def told(request):
    """A request of the dump, as expected.json tells one."""
    values = request["values"]
    found = {key: request[key] for key in ("how", "says", "source", "place", "decides")}
    found["edits"] = [value["edit"] and [value["edit"]["place"], value["edit"]["text"]] for value in values]
    if any(value["fallback"] for value in values):
        found["fallback"] = [value["fallback"] for value in values]
    if any(value["commented"] for value in values):
        found["commented"] = [value["commented"] and value["commented"]["place"] for value in values]
    return found


def bytes_at(folder, place):
    """What stands in a file from FILE:LINE:COLUMN on; columns count characters."""
    name, line, column = place.rsplit(":", 2)
    text = (folder / name).read_bytes().decode().split("\n")[int(line) - 1]
    return text[int(column) - 1 :]


def test_there_are_a_dozen():
    assert len(PROJECTS) >= 12


@pytest.mark.parametrize("name", PROJECTS)
def test_project(name):
    folder = EXAMPLES / name
    case = json.loads((folder / "expected.json").read_text())
    project = dump(folder, case)
    assert project["name"] == case["name"]
    assert project["files"] == case["files"]
    found = {
        service: {"active": facts["active"], "requests": [told(request) for request in facts["requests"]]}
        for service, facts in project["services"].items()
    }
    assert found == case["services"]
    for service in case["services"].values():
        for request in service["requests"]:
            for edit in filter(None, request["edits"]):
                assert bytes_at(folder, edit[0]).startswith(edit[1])


@pytest.mark.parametrize("name", PROJECTS)
def test_writing_another_value_where_it_says(name, tmp_path):
    """The bytes named as the ones to edit are the ones that decide: with another value there, it says another value."""
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    case = json.loads((folder / "expected.json").read_text())
    edits = {
        tuple(edit)
        for service in case["services"].values()
        for request in service["requests"]
        if request["decides"]
        for edit in request["edits"]
        if edit and edit[1].isdigit()
    }
    for place, text in edits:
        file, line, column = place.rsplit(":", 2)
        before = (folder / file).read_bytes()
        lines = before.decode().split("\n")
        at = int(column) - 1
        now = lines[int(line) - 1]
        lines[int(line) - 1] = now[:at] + "6" + now[at + len(text) :]
        (folder / file).write_bytes("\n".join(lines).encode())
        changed = dump(folder, case)["services"]
        (folder / file).write_bytes(before)
        for service, facts in case["services"].items():
            for before_it, after_it in zip(facts["requests"], changed[service]["requests"], strict=True):
                said = [value["text"][-1:] == "6" for value in after_it["values"]]
                assert said == [edit == [place, text] for edit in before_it["edits"]], (place, service)
