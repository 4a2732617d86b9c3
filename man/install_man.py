"""Installs the pages that mkman.py made: `install_man.py BUILD/man MANDIR`, under $DESTDIR when set."""

import os
import pathlib
import shutil
import sys

target = pathlib.Path(os.environ.get("DESTDIR", "") + sys.argv[2]) / "man1"
target.mkdir(parents=True, exist_ok=True)
for page in pathlib.Path(sys.argv[1]).glob("plimsoll*.1"):
    shutil.copy(page, target / page.name)
