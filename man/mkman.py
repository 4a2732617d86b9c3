"""Man pages from the binary's own help: `mkman.py PLIMSOLL SOURCE STAMP` writes plimsoll.1 and plimsoll-VERB.1 beside STAMP."""

import pathlib
import re
import subprocess
import sys

EXIT_STATUS = """.Sh EXIT STATUS
.Bl -tag -width 2n
.It 0
done
.It 1
it looked and found a problem
.It 2
wrong usage
.It 3
it could not do it
.El
"""


def help_of(plimsoll, *words):
    return subprocess.run([plimsoll, *words, "--help"], capture_output=True, text=True, check=True).stdout


def quoted(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in text.splitlines())


def prose(text):
    """mdoc wants each sentence on a line of its own."""
    return quoted(re.sub(r"([.!?]\)?) +(?=\S)", r"\1\n", text.strip()))


def sections(text):
    """(head line, {section: text}) of a help text: paragraphs that begin with a word and a colon."""
    head, _, rest = text.partition("\n")
    parts, name = {"": ""}, ""
    for line in rest.splitlines():
        found = re.fullmatch(r"(usage|options|examples|verbs):(.*)", line)
        if found:
            name = found.group(1)
            line = found.group(2).strip()
        elif name == "usage" and not line.strip() and parts["usage"].strip():
            name = ""
            continue
        parts[name] = parts.get(name, "") + line + "\n"
    return head, parts


def options_list(text):
    """Blocks of `  -x, --name VALUE   help`, continued on indented lines."""
    out = [".Bl -tag -width Ds"]
    for line in filter(str.strip, text.splitlines()):
        found = re.match(r"^ {2,6}(-\S.*?)(?: {2,}(\S.*))?$", line)
        if found:
            out.append(f".It {quoted(found.group(1))}")
            line = found.group(2) or ""
        if line.strip():
            out.append(prose(line))
    return "\n".join([*out, ".El"]) + "\n"


def head_of(name, summary):
    title = name.upper().replace("-", "\\-")
    return f".Dd $Mdocdate$\n.Dt {title} 1\n.Os\n.Sh NAME\n.Nm {name}\n.Nd {quoted(summary)}\n"


def literal(text):
    return ".Bd -literal\n" + quoted(text.strip("\n")) + "\n.Ed\n"


def verb_page(plimsoll, source, verb):
    head, parts = sections(help_of(plimsoll, verb))
    page = head_of(f"plimsoll-{verb}", head.partition(" - ")[2])
    page += f".Sh SYNOPSIS\n.Bd -literal\n{quoted(parts.get('usage', '').strip())}\n.Ed\n"
    page += ".Sh DESCRIPTION\n"
    described = parts[""].strip() or head.partition(" - ")[2][:1].upper() + head.partition(" - ")[2][1:] + "."
    page += "\n".join(".Pp" if not line.strip() else prose(line) for line in described.splitlines()) + "\n"
    page += ".Sh OPTIONS\n" + options_list(parts.get("options", ""))
    extra = source / f"plimsoll-{verb}.extra"
    page += extra.read_text() if extra.exists() else ""
    page += EXIT_STATUS
    if parts.get("examples", "").strip():
        page += ".Sh EXAMPLES\n" + literal(parts["examples"])
    return page + ".Sh SEE ALSO\n.Xr plimsoll 1\n"


def main_page(plimsoll, verbs):
    head, parts = sections(help_of(plimsoll))
    page = head_of("plimsoll", head.partition(" - ")[2])
    page += ".Sh SYNOPSIS\n.Nm\n.Ar verb\n.Op Ar options\n.Sh DESCRIPTION\n"
    page += "Every verb has a page of its own and answers\n.Fl \\-help .\n.Bl -tag -width Ds\n"
    for verb, summary in verbs:
        page += f".It Xr plimsoll-{verb} 1\n{quoted(summary)}\n"
    page += ".El\n" + EXIT_STATUS
    seen = " ,\n.Xr ".join(f"plimsoll-{verb} 1" for verb, _ in sorted(verbs))
    return page + f".Sh SEE ALSO\n.Xr {seen}\n"


def main():
    plimsoll, source, stamp = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    listed = sections(help_of(plimsoll))[1].get("verbs", "")
    verbs = re.findall(r"^  ([a-z]+) +(\S.*)$", listed.split("\n\n")[0], re.M)
    for verb, _ in verbs:
        (stamp.parent / f"plimsoll-{verb}.1").write_text(verb_page(plimsoll, source, verb))
    (stamp.parent / "plimsoll.1").write_text(main_page(plimsoll, verbs))
    stamp.write_text("\n".join(verb for verb, _ in verbs) + "\n")


if __name__ == "__main__":
    main()
