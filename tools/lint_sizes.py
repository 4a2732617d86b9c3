"""STYLE 4: no function above 100 lines, no file above 900, no header above 400 lines."""

import pathlib
import sys

FUNCTION_MAX, FILE_MAX, HEADER_MAX = 100, 900, 400


def functions(lines):
    """(first line, name, length) of each function: its braces stand alone in the first column."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            yield start, lines[start - 2].strip(), number - start - 1
            start = None


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    faults = []
    for folder in ("src", "sim", "tests"):
        for source in sorted(root.glob(f"{folder}/**/*.[ch]")):
            lines = source.read_text().splitlines()
            limit = HEADER_MAX if source.suffix == ".h" else FILE_MAX
            name = source.relative_to(root)
            if len(lines) > limit:
                faults.append(f"{name}: {len(lines)} lines, {limit} at most: split it")
            for start, head, length in functions(lines):
                if length > FUNCTION_MAX:
                    faults.append(f"{name}:{start}: {length} lines, {FUNCTION_MAX} at most: {head}")
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
