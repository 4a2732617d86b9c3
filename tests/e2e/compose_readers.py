"""Other programs' reading of compose projects, as they are installed: docker-compose 1.29 and podman-compose.

Run as a program, by the Python they are installed for: jobs on standard input, a line of JSON each
({"dir", "files", "env"}), answers on standard output ({"services"} or {"error"}). What these programs' own `config`
and `up` begin with, without a process for each.
"""

import contextlib
import io
import json
import os
import sys


def docker_compose(job):
    from compose.config import config
    from compose.config.environment import Environment

    environment = Environment.from_env_file(job["dir"])
    found = config.find(job["dir"], job["files"], environment)
    return {service["name"]: service for service in config.load(found).services}


def podman_compose(job):
    import argparse

    import podman_compose as program

    reader = program.PodmanCompose()
    reader.global_args = argparse.Namespace(
        file=job["files"], project_name=None, command="ps", no_ansi=True, no_cleanup=True, dry_run=True
    )
    reader._parse_compose_file()
    return reader.services


def plain(value):
    """What they read holds types of their own; as JSON it is what they print."""
    return value.repr() if hasattr(value, "repr") else str(value)


def answer(read, job):
    os.chdir(job["dir"])
    os.environ.clear()
    os.environ.update(job["env"])
    noise = io.StringIO()
    try:
        with contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            return {"services": read(job)}
    except (Exception, SystemExit) as problem:
        return {"error": f"{type(problem).__name__}: {problem}"[:300]}


if __name__ == "__main__":
    READ = {"docker-compose": docker_compose, "podman-compose": podman_compose}[sys.argv[1]]
    for line in sys.stdin:
        print(json.dumps(answer(READ, json.loads(line)), default=plain))
