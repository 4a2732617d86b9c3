"""Words that must not be in the tree: unfinished work, and paths of somebody's machine."""

import pathlib
import re
import subprocess
import sys

FORBIDDEN = [
    (re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b"), "unfinished work: finish it or write an issue"),
    (re.compile(r"\bfor n" r"ow\b(?! and then)", re.I), "say what is, not what is meant to come"),
    (re.compile(r"(?<![\w.])/(work|ro" r"ot|home/(?!me\b|user\b|you\b|ada\b))[/\w]"), "a path of one machine"),
    (re.compile(r"[ \t]+$", re.M), "blanks at the end of a line"),
]
BINARY = {".png", ".ico", ".gz"}
# Corpora hold what a parser may be given, and licences are quoted as they are.
SKIPPED = ("tests/fuzz/corpus/", "LICENSE")


def files(root):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True)
    if listed.returncode == 0:
        return [root / name for name in listed.stdout.splitlines()]
    return [path for path in root.rglob("*") if not path.parts[len(root.parts)].startswith(("build", "."))]


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    faults = []
    for path in sorted(files(root)):
        name = str(path.relative_to(root))
        if not path.is_file() or path.suffix in BINARY or name.startswith(SKIPPED):
            continue
        text = path.read_text(errors="replace")
        for pattern, why in FORBIDDEN:
            for match in pattern.finditer(text):
                line = text[: match.start()].count("\n") + 1
                faults.append(f"{name}:{line}: \"{match.group(0).strip()}\": {why}")
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
