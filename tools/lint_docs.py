"""What the docs must keep up with: `lint_docs.py BUILD`.

Every verb of the binary has a man page and every page a verb; every endpoint of docs/api.md is in the table of routes
and the other way round; docs/states.md, docs/checks.md and docs/doctor.md are what their tables print; links between pages lead somewhere.
"""

import pathlib
import re
import subprocess
import sys

ENDPOINT = re.compile(r"^\| (GET|POST|PUT|DELETE) \| `([^`?]+)", re.M)
ROUTE = re.compile(r'\{\s*"(GET|POST|PUT|DELETE)",\s*"([^"]+)"')
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def verbs_of(build):
    text = subprocess.run([build / "plimsoll", "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^  ([a-z]+) +\S", text.split("verbs:")[1].split("\n\n")[0], re.M))


def man_faults(build):
    pages = {path.stem for path in (build / "man").glob("plimsoll*.1")}
    wanted = {"plimsoll"} | {f"plimsoll-{verb}" for verb in verbs_of(build)}
    for name in sorted(wanted - pages):
        yield f"{name}.1: missing (man/mkman.py makes it)"
    for name in sorted(pages - wanted):
        yield f"{name}.1: there is no such verb"


def route_faults(root):
    def plain(path):
        return re.sub(r"ID|:\w+|\{\w+\}|\*", "ID", path)

    documented = {(m, plain(path)) for m, path in ENDPOINT.findall((root / "docs/api.md").read_text())}
    sources = "".join(path.read_text() for folder in ("api", "daemon") for path in (root / "src" / folder).glob("*.c"))
    served = {(m, plain(path)) for m, path in ROUTE.findall(sources)}
    for method, path in sorted(documented - served):
        yield f"docs/api.md: {method} {path} is in no table of routes"
    for method, path in sorted(served - documented):
        yield f"docs/api.md: {method} {path} is served and not described"


def state_faults(root, build):
    """Pages that a program prints from a table."""
    for name, path in (("states", "src/sched/states-doc"), ("checks", "src/check/checks-doc"), ("doctor", "src/doctor/doctor-doc")):
        for program in build.glob(path):
            printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
            page = root / f"docs/{name}.md"
            if not page.exists() or page.read_text() != printed:
                yield f"docs/{name}.md is not what the table says: run {program.relative_to(root)} > docs/{name}.md"


def link_faults(root):
    for page in [root / "README.md", *root.glob("docs/**/*.md")]:
        for target in LINK.findall(page.read_text()):
            if not (page.parent / target).exists():
                yield f"{page.relative_to(root)}: links to {target}, which is not there"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    build = root / sys.argv[1]
    faults = [*man_faults(build), *route_faults(root), *state_faults(root, build), *link_faults(root)]
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
