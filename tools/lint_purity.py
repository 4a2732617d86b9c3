"""Purity of place/ and sched/: `lint_purity.py BUILD`. What they include and what their objects call is in tools/pure.txt."""

import pathlib
import re
import subprocess
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^">]+)[">]', re.M)


def read_table(path):
    table = {"folder": [], "header": [], "symbol": [], "printer": []}
    for line in path.read_text().splitlines():
        words = line.split()
        if words and not words[0].startswith("#"):
            table[words[0]] += words[1:]
    return table


def include_faults(root, table):
    for folder in table["folder"]:
        for source in sorted((root / "src" / folder).glob("**/*.[ch]")):
            text = source.read_text()
            for match in INCLUDE.finditer(text):
                header = match.group(1)
                if header not in table["header"] and header.split("/")[0] not in table["folder"]:
                    line = text[: match.start()].count("\n") + 1
                    yield f"{source.relative_to(root)}:{line}: <{header}> is not for pure code"


def symbols_of(library):
    """(object, kind, name) of each symbol of a static library; kind U is one it calls."""
    listed = subprocess.run(["nm", "-A", library], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        words = line.rsplit(maxsplit=2)
        if len(words) == 3:
            yield words[0].split(":")[1], words[1], words[2]


def symbol_faults(build, table):
    known = re.compile("|".join(f"(?:{pattern})" for pattern in table["symbol"]))
    symbols = []
    for folder in table["folder"]:
        library = build / "src" / folder / f"lib{folder}.a"
        if not library.exists():
            yield f"{library}: not built"
            continue
        symbols += symbols_of(library)
    defined = {name for _, kind, name in symbols if kind != "U"}
    for where, kind, name in symbols:
        if pathlib.Path(where).name in table["printer"]:
            continue
        if kind == "U" and name not in defined and not known.fullmatch(name):
            yield f"{where}: calls {name}, which is not for pure code"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    table = read_table(root / "tools/pure.txt")
    faults = [*include_faults(root, table), *symbol_faults(root / sys.argv[1], table)]
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
