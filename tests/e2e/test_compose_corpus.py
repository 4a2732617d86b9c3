"""The compose projects of ../shared/compose-corpus (real ones, read from there): every request for a GPU is located,
with its value, its source and its place, as tests/cases/corpus.json says, which was written by reading the files.

"made" are files the project tells people to make, from another one (or from "=TEXT"). "refused" is what compose refuses
it for.

A row of "requests" is: service, how, value (a blank in it is "="), source, file:line:column, and marks: "hidden" (asked
for, and something stronger decides), "none" (asks for no GPU), "foreign" (not NVIDIA's).
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import BUILD, ROOT

CASES = json.loads((ROOT / "tests/cases/corpus.json").read_text(encoding="utf-8"))
TOOL = BUILD / "tests/unit/compose_requests"

# A line that asks for an NVIDIA GPU, or says which. Found by text alone, whatever the reader makes of the file.
ASKS = re.compile(
    r"device_ids\s*:|(?<![\w-])gpus\s*:|(?<![\w-])runtime\s*:\s*[\"']?nvidia|NVIDIA_VISIBLE_DEVICES|CUDA_VISIBLE_DEVICES"
    r"|nvidia\.com/gpu=|/dev/nvidia\d|driver\s*:\s*[\"']?(?:nvidia|cdi)\b"
)
# Lines that match and say nothing by themselves.
AUTOWARE = "autowarefoundation__autoware/docker/"
EXPLAINED = {
    # a list in block style: the value stands below the key
    ("speaches-ai__speaches/compose.cuda-cdi.yaml", 21),
    # the runtime; the row is at its NVIDIA_VISIBLE_DEVICES
    (AUTOWARE + "devcontainer/universe-devel-cuda.compose.yaml", 5),
    (AUTOWARE + "examples/basic/dev-nvidia.compose.yaml", 5),
    (AUTOWARE + "examples/demos/awsim/docker-compose.yaml", 5),
    (AUTOWARE + "examples/demos/planning-simulator/docker-compose.nvidia.yaml", 3),
}


CORPUS = (ROOT / "../shared/compose-corpus").resolve()


pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="../shared/compose-corpus is not beside this checkout")


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """The folder of a case: in the corpus, or in a copy of its project where files can be made."""

    def find(case):
        if "made" not in case:
            return CORPUS / case["folder"]
        project = pathlib.PurePath(case["folder"]).parts[0]
        copy = tmp_path_factory.mktemp("corpus")
        shutil.copytree(CORPUS / project, copy / project, copy_function=shutil.copyfile)
        folder = copy / case["folder"]
        for name, source in case["made"].items():
            folder.chmod(0o755)
            text = source.removeprefix("=") if source == "" or source[0] == "=" else (folder / source).read_text()
            (folder / name).write_text(text, encoding="utf-8")
        return folder

    return find


def ask(folder, case, *more):
    command = [TOOL, "-C", folder]
    for name in case["files"]:
        command += ["-f", name]
    for name in case.get("env_files", []):
        command += ["--env-file", name]
    for name, value in case.get("shell", {}).items():
        command += ["--set", f"{name}={value}"]
    return subprocess.run([*command, *more], capture_output=True, text=True, timeout=60)


def relative(path, folder):
    """`path` as the table writes it: as seen from the folder of the project."""
    return os.path.relpath(pathlib.Path(path) if os.path.isabs(path) else folder / path, folder)


def row(request, folder):
    at = request["at"]
    marks = [
        word
        for word, is_so in (
            ("hidden", request["nvidia"] and not request["in_force"] and not request["filter"] and not request["none"]),
            ("foreign", not request["nvidia"]),
            ("none", request["none"]),
        )
        if is_so
    ]
    place = f"{relative(at['file'], folder)}:{at['line']}:{at['column']}"
    value = request["value"].replace(" ", "=")
    return " ".join([request["service"], request["how"], value, request["source"], place, *marks])


def title(case):
    extra = [*case.get("env_files", []), *(f"{k}={v}" for k, v in case.get("shell", {}).items())]
    return " ".join([case["folder"].split("__")[-1] + ":", *case["files"], *extra])


@pytest.mark.parametrize("case", CASES, ids=title)
def test_requests(case, folder_of):
    folder = folder_of(case)
    result = ask(folder, case)
    if "refused" in case:
        assert result.returncode == 3
        assert case["refused"] in result.stderr
        return
    assert result.returncode == 0, result.stderr
    found = [row(json.loads(line), folder) for line in result.stdout.splitlines()]
    assert sorted(found) == sorted(case["requests"])


def test_each_value_can_be_changed_alone(folder_of):
    """In memory, one at a time: the new value is there when the project is read anew, what does not share it is as it
    was."""
    tried = 0
    for case in CASES:
        if not case["requests"]:
            continue
        result = ask(folder_of(case), case, "--change")
        assert result.returncode == 0, f"{title(case)}: {result.stderr}"
        tried += json.loads(result.stdout)["tried"]
    assert tried > 200


def compose_files():
    return sorted(path for path in CORPUS.rglob("*") if path.is_file() and re.search(r"\.ya?ml(\.|$)", path.name))


def is_comment(line):
    return line.lstrip().startswith("#")


def asking_lines():
    """(file, line number, line) of the corpus that ask for a GPU by their text."""
    for path in compose_files():
        for number, line in enumerate(path.read_bytes().decode("utf-8").split("\n"), 1):
            if not is_comment(line) and ASKS.search(line.split(" #")[0]):
                yield str(path.relative_to(CORPUS)), number, line


def expected_lines():
    """Lines the table names, by file."""
    lines = {}
    for case in CASES:
        for request in case["requests"]:
            name, line, _ = request.split(" ")[4].rsplit(":", 2)
            path = os.path.normpath(os.path.join(case["folder"], name))
            lines.setdefault(path, set()).add(int(line))
    return lines


def test_no_line_is_missed():
    """Each line that asks for a GPU is a request's of the table, or a driver's beside one (its count or ids are at most
    three lines away)."""
    expected = expected_lines()
    missed = []
    for name, number, line in asking_lines():
        here = expected.get(name, set())
        near = set(range(number - 3, number + 4)) if re.search(r"driver\s*:", line) else {number}
        if not here & near and (name, number) not in EXPLAINED:
            missed.append(f"{name}:{number}: {line.strip()}")
    assert not missed, "\n".join(missed)


def test_every_file_is_read_by_a_case():
    """So the table does not shrink when the corpus grows."""
    used = {
        os.path.normpath(os.path.join(case["folder"], name))
        for case in CASES
        for name in [*case["files"], *(r.split(" ")[4].rsplit(":", 2)[0] for r in case["requests"])]
    }
    assert {str(path.relative_to(CORPUS)) for path in compose_files()} <= used
