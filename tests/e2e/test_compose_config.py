"""Compose projects as Plimsoll reads them, against the programs that run them: docker-compose 1.29 and podman-compose.

Every project of ../shared/compose-corpus (each file alone, and over its folder's base file) and of tests/cases/projects
is read by all, and what each service's containers are made from is compared (compose_model.py). Both programs are older than what
Plimsoll follows, `docker compose` as of compose-go 2.13: what they read otherwise is in KNOWN, with the reason, and
nothing else may differ. What they refuse is not compared; that Plimsoll reads it is.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

import compose_model
import pytest
from conftest import BUILD, ROOT, SANITIZED

CORPUS = ROOT.parent / "shared" / "compose-corpus"
EXAMPLES = ROOT / "tests" / "cases" / "projects"
DUMP = BUILD / "tests" / "tools" / "compose-dump"
# What a sanitizer finds is not taken for a project that is refused.
FINDINGS = {"ASAN_OPTIONS": "exitcode=99", "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99"}
READERS = pathlib.Path(__file__).with_name("compose_readers.py")
BASES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
PYTHON = "/usr/bin/python3"
needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"{CORPUS} is not there")


def left_as_written(job, theirs, ours):
    return "${" in str(theirs)


def included(job, theirs, ours):
    texts = (pathlib.Path(job["dir"], name).read_text() for name in job["files"])
    return (theirs, ours) == (False, True) and any(re.search(r"^include:", text, re.M) for text in texts)


def yaml_1_1(job, theirs, ours):
    return theirs == "false" and ours == "no"


def more_profiles(job, theirs, ours):
    return set(theirs) > set(ours)


def said_twice(job, theirs, ours):
    return len(theirs) < len(ours) and all(request in theirs for request in ours)


def other_order(job, theirs, ours):
    return theirs == ours[::-1]


def not_extended(job, theirs, ours):
    return job["dir"].endswith("extends-chain") and theirs == []


def shared_with_extended(job, theirs, ours):
    return job["dir"].endswith("extends-chain") and (theirs, ours) == ("draft", "chat")


# What the older programs read otherwise:
# (program, keys of compose_model.service(), what such a difference looks like, why).
KNOWN = [
    (
        "docker-compose",
        "environment image",
        left_as_written,
        "no substitution inside a default: of ${A:-${B}} a part stays as it is written",
    ),
    (
        "podman-compose",
        "environment image command",
        left_as_written,
        "no substitution of ${A:-} with an empty default, nor inside a default",
    ),
    ("podman-compose", "service", included, "`include` is not known"),
    ("podman-compose", "reservations", said_twice, "a file that is included and given by -f is merged once, not twice"),
    ("podman-compose", "profiles", more_profiles, "what extends a service changes the extended one, too"),
    ("podman-compose", "restart", yaml_1_1, "a bare `no` is false, as in YAML 1.1"),
]
# And in our own examples, which have what the corpus lacks.
KNOWN_OF_EXAMPLES = [
    ("docker-compose", "reservations", other_order, "an override's devices come first"),
    ("podman-compose", "service", included, "`include` is not known"),
    ("podman-compose", "reservations gpus", left_as_written, "no substitution inside a default"),
    ("podman-compose", "reservations", not_extended, "of a service of another file, what that one extends is left out"),
    ("podman-compose", "environment", shared_with_extended, "what extends a service changes the extended one, too"),
]


def why(known, program, job, key, theirs, ours):
    """The reason a difference is known for; None when it is not."""
    for name, keys, looks_so, reason in known:
        if name == program and key in keys.split() and looks_so(job, theirs, ours):
            return reason
    return None


def dump(folder, files, env):
    args = [word for file in files for word in ("-f", file)]
    return subprocess.run([DUMP, *args], cwd=folder, env={**FINDINGS, **env}, text=True, capture_output=True, timeout=30)


def read_by_plimsoll(job):
    """The dump, once the env files and the variables its owner would have made are there; None when it is refused."""
    for _ in range(40):
        done = dump(job["dir"], job["files"], job["env"])
        assert done.returncode in (0, 1), f"{job}: {done.stderr}"
        if done.returncode == 0:
            return json.loads(done.stdout)
        missing = re.search(r"env file (\S+) not found", done.stderr)
        required = re.search(r"required variable (\S+) is missing", done.stderr)
        if missing:
            pathlib.Path(missing[1]).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(missing[1]).touch()
        elif required:
            job["env"][required[1].rstrip(":")] = "/required"
        else:
            return None
    pytest.fail(f"{job}: {done.stderr}")


def read_by(program, jobs):
    lines = "\n".join(map(json.dumps, jobs))
    done = subprocess.run([PYTHON, READERS, program], input=lines, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def jobs_below(root):
    jobs = []
    env = {"PATH": "/usr/bin:/bin", "HOME": str(root)}
    for folder, _, names in sorted(os.walk(root)):
        files = sorted(name for name in names if name.endswith((".yml", ".yaml")))
        base = next((name for name in BASES if name in files), None)
        for name in files:
            jobs.append({"dir": folder, "files": [name], "env": dict(env)})
            if base and name != base:
                jobs.append({"dir": folder, "files": [base, name], "env": dict(env)})
    return jobs


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A copy of the corpus, as it would be on its owners' machines: its folder, [(job, dump or None)]."""
    root = tmp_path_factory.mktemp("corpus") / "compose-corpus"
    shutil.copytree(CORPUS, root)
    return root, [(job, read_by_plimsoll(job)) for job in jobs_below(root)]


def installed(program, module):
    if subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode != 0:
        pytest.skip(f"{program} is not installed for {PYTHON}")


def compare(known, program, root, read):
    """(what differs and is not known, how many were compared, the reasons that were needed)."""
    unknown, compared, reasons = [], 0, set()
    for (job, ours), theirs in zip(read, read_by(program, [job for job, _ in read]), strict=True):
        if not ours or "error" in theirs:
            continue
        compared += 1
        services = ours["model"].get("services") or {}
        if program == "docker-compose":  # it resolves env_file; podman hands it on
            resolved = {name: facts["environment"] for name, facts in ours["services"].items()}
            services = {name: {**model, "environment": resolved[name]} for name, model in services.items()}
        for service, key, part, a, b in compose_model.differences(theirs["services"], services):
            reason = why(known, program, job, key, a, b)
            if reason:
                reasons.add(reason)
            else:
                where = " ".join([os.path.relpath(job["dir"], root), *job["files"], service, key, part or ""])
                unknown.append(f"{where}\n  {program}: {a!r:.300}\n  plimsoll: {b!r:.300}")
    return unknown, compared, reasons


@needs_corpus
def test_corpus_is_read(corpus):
    assert sum(ours is not None for _, ours in corpus[1]) > 50


@needs_corpus
@pytest.mark.skipif(SANITIZED, reason="what others read is no matter of our build: compared with the plain one")
@pytest.mark.parametrize("program, module", [("docker-compose", "compose"), ("podman-compose", "podman_compose")])
def test_corpus_as_they_read_it(corpus, program, module):
    installed(program, module)
    unknown, compared, reasons = compare(KNOWN, program, *corpus)
    assert not unknown, "\n".join(unknown[:20]) + f"\n({len(unknown)} in all)"
    assert compared > 50
    # A reason nobody needs any more goes.
    assert reasons == {reason for name, *_, reason in KNOWN if name == program}


@pytest.mark.parametrize("program, module", [("docker-compose", "compose"), ("podman-compose", "podman_compose")])
def test_examples_as_they_read_it(program, module):
    """Those they can read: no `gpus:`, no include, no tags, no --env-file but their own .env."""
    installed(program, module)
    read = []
    for path in sorted(EXAMPLES.glob("*/expected.json")):
        case = json.loads(path.read_text())
        job = {"dir": str(path.parent), "files": case["files"], "env": {"PATH": "/usr/bin:/bin", **case["shell"]}}
        if "--env-file" not in case["args"]:
            read.append((job, read_by_plimsoll(job)))
    unknown, compared, reasons = compare(KNOWN_OF_EXAMPLES, program, EXAMPLES, read)
    assert not unknown, "\n".join(unknown)
    assert compared >= 4
    assert reasons == {reason for name, *_, reason in KNOWN_OF_EXAMPLES if name == program}
