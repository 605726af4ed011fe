"""What is sent to a node, and which command receives it there? A zip of diag/node behind the text that starts it."""

from __future__ import annotations

import functools
import importlib.util
import io
import threading
import zipfile
from pathlib import Path

from diag.errors import DiagError
from diag.inventory import Host

NODE_FOLDER = Path(__file__).resolve().parent.parent / "node"
START = "start.py"
MADE = (1980, 1, 1, 0, 0, 0)

# One line that every shell passes on unharmed once quoted, and that Python 2 can parse: start.py says what is too old.
BOOTSTRAP = (
    "import os,sys;n=int(sys.argv[1]);z=bytearray();"
    "[z.extend(os.read(0,min(n-len(z),65536))or sys.exit('diag: standard input ended early'))"
    "for _ in iter(lambda:len(z)<n,False)];exec(bytes(z.partition(bytearray(1))[0]))"
)


_building = threading.Lock()


def payload() -> bytes:
    """The same bytes for every node and every run of one version; built once, whoever of many threads asks first."""
    with _building:
        return _payload()


@functools.cache
def _payload() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for path in (*sorted(NODE_FOLDER.glob("*.py")), _pynvml()):
            if path.name != START:
                file.writestr(_entry(path.name), path.read_bytes())
    return (NODE_FOLDER / START).read_bytes() + b"\0" + archive.getvalue()


def command(host: Host, python: str) -> tuple[str, ...]:
    """The argv that starts the agent on ``host``: its wrapper, its environment, ``python``."""
    env = ("env", *(f"{name}={value}" for name, value in host.env)) if host.env else ()
    return (*host.exec, *env, python, *arguments())


def arguments() -> tuple[str, ...]:
    """The interpreter's own, with which it takes the payload from its standard input."""
    return "-B", "-c", BOOTSTRAP, str(len(payload()))


def text_of(name: str) -> str:
    """A file of diag/node that travels alone."""
    return (NODE_FOLDER / name).read_text(encoding="utf-8")


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, MADE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _pynvml() -> Path:
    """The one file of nvidia-ml-py, found without importing it."""
    spec = importlib.util.find_spec("pynvml")
    if spec is None or spec.origin is None:
        raise DiagError("", "pynvml is not installed here", do="pip install nvidia-ml-py")
    return Path(spec.origin)
