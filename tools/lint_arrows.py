"""The include arrows: each `#include "..."` in src/ and sim/ must be allowed by tools/arrows.txt."""

import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def read_arrows(path):
    arrows = {}
    for line in path.read_text().splitlines():
        words = line.split("#")[0].split()
        if words:
            arrows[words[0]] = words[1:]
    return arrows


def allowed(header, own, uses):
    if header == "config.h" or "/" not in header:
        return header == "config.h" or (own / header).exists()
    folder = header.split("/")[0]
    return folder == own.name or folder in uses or header in uses


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    arrows = read_arrows(root / "tools/arrows.txt")
    faults = []
    for source in sorted((*root.glob("src/**/*.[ch]"), *root.glob("sim/**/*.[ch]"))):
        name = source.relative_to(root)
        folder = "/".join(name.parts[: 1 if name.parts[0] == "sim" else 2])
        if folder not in arrows:
            faults.append(f"{name}: folder {folder} is not in tools/arrows.txt")
            continue
        for match in INCLUDE.finditer(source.read_text()):
            if not allowed(match.group(1), root / folder, arrows[folder]):
                line = source.read_text()[: match.start()].count("\n") + 1
                uses = ", ".join(arrows[folder]) or "nothing"
                faults.append(f'{name}:{line}: includes "{match.group(1)}"; {folder} may use: {uses}')
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
