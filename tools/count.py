"""Adds up JUnit files: `count.py LABEL STATUS FILE ...` (three arguments a suite).

Prints what failed and what was skipped, with its reason, then "N passed, N failed[, N skipped]". A suite whose runner
failed without a failure in its file, whose file is not there, or which ran nothing, counts as one failure:
tests that did not run are never taken for tests that passed. Exit status 1 when anything failed.
"""

import sys
import xml.etree.ElementTree as ET


def first_line(element):
    text = (element.get("message") or element.text or "").strip()
    return text.splitlines()[0] if text else ""


def count_suite(label, status, path):
    """(passed, failed, skipped), where the last two are lists of lines."""
    passed, failed, skipped = 0, [], []
    try:
        cases = list(ET.parse(path).getroot().iter("testcase"))
    except (OSError, ET.ParseError) as error:
        return 0, [f"{label}: no result file: {error}"], []
    for case in cases:
        name = f"{label}: {case.get('classname', '')}.{case.get('name', '')}"
        bad = [child for child in case if child.tag in ("failure", "error")]
        skip = case.find("skipped")
        if bad:
            failed.append(f"{name}: {first_line(bad[0])}")
        elif skip is not None:
            skipped.append(f"{name}: {first_line(skip)}")
        else:
            passed += 1
    if not cases:
        failed.append(f"{label}: ran no test")
    elif status != 0 and not failed:
        failed.append(f"{label}: the runner ended with status {status}")
    return passed, failed, skipped


def main(arguments):
    if not arguments or len(arguments) % 3 != 0:
        sys.exit("usage: count.py LABEL STATUS FILE ...")
    passed, failed, skipped = 0, [], []
    for i in range(0, len(arguments), 3):
        label, status, path = arguments[i : i + 3]
        counts = count_suite(label, int(status), path)
        passed += counts[0]
        failed += counts[1]
        skipped += counts[2]
    for line in skipped:
        print(f"skipped: {line}")
    for line in failed:
        print(f"FAILED: {line}")
    tail = f", {len(skipped)} skipped" if skipped else ""
    print(f"{passed} passed, {len(failed)} failed{tail}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
