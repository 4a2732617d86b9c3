"""What the product does not use: `lint_unused.py BUILD`.

Functions and data that only tests use, or that only the file uses which exports them, by the symbols of the product's
objects; macros and inline functions of headers that nobody uses, by their names. Exceptions: tools/unused.txt.
"""

import collections
import pathlib
import re
import subprocess
import sys

COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|/\*.*?\*/|//[^\n]*', re.S)
WORD = re.compile(r"\b[A-Za-z_]\w*\b")
MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+([A-Za-z_]\w*)", re.M)
INLINE = re.compile(r"^static inline [^;{]*?\b([a-z_]\w*)\(", re.M)


def without_comments(text):
    """Text in quotes is kept: it may be what a macro is pasted into."""
    return COMMENT.sub(lambda match: match[0] if match[0].startswith('"') else " ", text)


def read_exceptions(path):
    names = {}
    for line in path.read_text().splitlines():
        name, _, reason = line.split("#")[0].strip().partition("\t")
        if name:
            names[name] = reason.strip()
    return names


def symbols_of(objects):
    """(object, defined, name) of each global symbol that is not exported from a library."""
    listed = subprocess.run(["readelf", "--symbols", "--wide", *objects], capture_output=True, text=True, check=True).stdout
    current = str(objects[0])
    for line in listed.splitlines():
        words = line.split()
        if line.startswith("File: "):
            current = words[1]
        elif len(words) == 8 and words[0].endswith(":") and words[4] == "GLOBAL":
            kind, visible, section, name = words[3], words[5], words[6], words[7]
            if section == "UND":
                yield current, False, name
            elif kind in ("FUNC", "OBJECT") and visible == "HIDDEN":
                yield current, True, name


def symbol_faults(build, own_uses, test_words):
    objects = [*build.glob("src/**/*.o"), *build.glob("sim/**/*.o"), *build.glob("plimsoll*.p/*.o"),
               *build.glob("libnvidia-ml*.p/*.o")]
    if not objects:
        yield "", f"{build}: not built"
        return
    defined, called = {}, set()
    for where, is_defined, name in symbols_of(sorted(objects)):
        if is_defined:
            defined[name] = where
        else:
            called.add(name)
    for name, where in sorted(defined.items()):
        if name in called or name == "main":
            continue
        # src/util/libutil.a.p/text.c.o, plimsoll.p/src_cli_verbs.c.o
        file = pathlib.Path(where).name.removesuffix(".o")
        if not own_uses(file, name):
            yield name, f"{name} ({file}): the product does not use it"
        elif name not in test_words:
            yield name, f"{name} ({file}): only its own file uses it: static"


def read_words(root, *folders):
    """The words of each C file, with how often each stands there."""
    words = {}
    for path in sorted(path for folder in folders for path in (root / folder).glob("**/*.[ch]")):
        words[path] = collections.Counter(WORD.findall(without_comments(path.read_text())))
    return words


def name_faults(root, everywhere):
    """Macros and inline functions of headers whose name stands nowhere but where it is defined."""
    for path in (path for path in everywhere if path.suffix == ".h"):
        text = without_comments(path.read_text())
        for name in {*MACRO.findall(text), *INLINE.findall(text)}:
            definitions = len(re.findall(rf"#[ \t]*define[ \t]+{name}\b", text)) or 1
            if sum(words[name] for words in everywhere.values()) == definitions:
                yield name, f"{name} ({path.relative_to(root)}): nobody uses it"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    exceptions = read_exceptions(root / "tools/unused.txt")
    product, tests = read_words(root, "src", "sim"), read_words(root, "tests", "examples")
    test_words = {word for words in tests.values() for word in words}

    def own_uses(file, name):
        """Does a source of that name (objects of programs have its folders before it) use what it defines?"""
        return any(words[name] > 1 for path, words in product.items() if path.suffix == ".c" and file.endswith(path.name))

    faults = [*symbol_faults(root / sys.argv[1], own_uses, test_words), *name_faults(root, product | tests)]
    found = {name for name, _ in faults}
    shown = [text for name, text in faults if name not in exceptions]
    shown += [f"tools/unused.txt: {name} is used by now, or gone" for name in exceptions if name not in found]
    print("\n".join(shown))
    return 1 if shown else 0


if __name__ == "__main__":
    sys.exit(main())
