"""How do tests call a function of diag/node? As the agent does: by name, in a process of its own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diag.remote.payload import NODE_FOLDER, payload

ASKED = """
import json, sys, zipimport
sys.path.insert(0, sys.argv[1])
if sys.argv[1].endswith(".pyz"):  # as start.py does
    importer = zipimport.zipimporter(sys.argv[1])
    importer._ORIGIN = sys.argv[1]
    sys.path_importer_cache[sys.argv[1]] = importer
module, _, name = sys.argv[2].partition(":")
function = getattr(__import__(module), name)
try:
    print(json.dumps({"value": function(**json.loads(sys.argv[3]))}))
except (OSError, LookupError, RuntimeError, ValueError) as error:
    print(json.dumps({"why": type(error).__name__ + ": " + str(error)}))
"""


class Refused(Exception):  # noqa: N818 - it is an answer
    """The function raised; the agent would answer with these words."""


def ask(
    function: str,
    *,
    python: str = sys.executable,
    code: Path = NODE_FOLDER,
    env: Mapping[str, str] | None = None,
    unprivileged: bool = False,
    **arguments: object,
) -> Any:
    """What ``module:function`` answers; ``code``: the folder, or the zip that travels. Warnings are errors.

    ``unprivileged``: root, too, must respect permissions.
    """
    argv = [python, "-B", "-W", "error", "-c", ASKED, str(code), function, json.dumps(arguments)]
    if unprivileged and os.getuid() == 0:
        argv = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *argv]
    environment = {"PATH": os.defpath, "HOME": "/nonexistent", **(env or {})}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    if "why" in answer:
        raise Refused(answer["why"])
    return answer["value"]


def interpreters() -> list[str]:
    """This one, and every other of 3.8 or newer that is installed beside it."""
    found = (path for path in Path.home().glob(".pyenv/versions/3.*/bin/python"))
    return [sys.executable, *sorted(str(path) for path in found if int(path.parts[-3].split(".")[1]) >= 8)]


@functools.cache
def zipped(folder: Path) -> Path:
    """The zip as a node receives it."""
    path = folder / "node.pyz"
    path.write_bytes(payload().partition(b"\0")[2])
    return path
