#!/usr/bin/env python3
"""gen-stubs.py NAMES OUT SOURCE...: a C file that defines every function of NAMES no SOURCE defines."""

import re
import sys

names_path, out_path, *sources = sys.argv[1:]
with open(names_path, encoding='ascii') as file:
    names = file.read().split()
text = ''.join(open(source, encoding='utf-8').read() for source in sources)
defined = set(re.findall(r'^(?:int|const char \*)\s?(nvml[A-Z]\w+)\(', text, re.M))
for kind, suffix in re.findall(r'f\((\w+), (\w*), \d\)', text):
    defined.add(f'nvmlDeviceGet{kind}RunningProcesses{suffix}')
unknown = defined - set(names)
if unknown:
    sys.exit(f'{names_path} lacks {", ".join(sorted(unknown))}')
with open(out_path, 'w', encoding='ascii') as out:
    out.write('/* Made by gen-stubs.py: the names this library exports without an implementation. */\n'
              '#include "sim/nvml_lib.h"\n\n')
    for name in names:
        if name not in defined:
            out.write(f'NVML_EXPORT int {name}(void);\nint {name}(void)\n{{\n\treturn nvml_stub();\n}}\n\n')
