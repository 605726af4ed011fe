"""Which accelerators other than NVIDIA's are here, and what do their vendors' tools print about them?

The vendor is told by the PCI bus, or, where a container shows no bus, by the device files. Only then a tool is started,
each command in a process of its own that is ended at the deadline; after one that hangs, the rest is not tried. What
the tools print goes out as it is (serial numbers masked, JSON without its blanks): it is read on the controller.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time

import own_code
import pci
import proc
import verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OUTPUT_AT_MOST = 1 << 20
ELSEWHERE = ("nvidia",)
"""Read by another module."""
OF_FILES = {"kfd": ("hygon", "amd"), "mxcd": ("metax",), "davinci": ("ascend",), "hl": ("habana",)}
"""Device file -> vendors; of several the first one whose tool is here, else the last."""
NEEDS = {"amd": ("kfd",), "hygon": ("kfd",), "metax": ("mxcd",), "ascend": ("davinci",)}
"""Device files without which nothing is computed on them; amd and hygon also open /dev/dri/renderD*."""
AT_MOST = ("max_link_speed", "max_link_width")
ADDRESS_COLONS = 2
LINK = ("current_link_speed", "current_link_width", *AT_MOST)
CHILD = "import sys; sys.path.insert(0, sys.argv[1]); import torch_devices; torch_devices.main()"
SERIAL = re.compile(r"(serial[\w ]*\"?\s*:\s*\"?|\bSN\s*:\s*)([\w-]+)", re.IGNORECASE)
SHOWN = 4


def tools(vendors: dict[str, Any], seconds: float, root: str = "/") -> dict[str, Any]:
    """``{"absent": true}``, or ``{"vendors": [...]}``: for each its tool, what it said by command, devices and files.

    ``vendors``: name -> its tools, the preferred one first: ``name``, ``places``, ``libraries``, ``commands``, ``ids``.
    Raises OSError where neither bus nor device files say what is here.
    """
    deadline = time.monotonic() + seconds
    try:
        found = pci.devices(root)
    except OSError:
        found = {"devices": [], "files": pci.files(root)}
        if not found["files"]:
            raise
    there = _there(found, vendors)
    if not there:
        return {"absent": True}
    return {"vendors": [_vendor(name, vendors.get(name, []), found, deadline, root) for name in there]}


def _there(found: dict[str, Any], vendors: dict[str, Any]) -> list[str]:
    on_bus = [row["vendor"] for row in found["devices"] if row["kind"] == "accelerator"]
    if on_bus:
        return sorted(set(on_bus) - set(ELSEWHERE))
    by_files = set()
    for file in found["files"]:
        candidates = OF_FILES.get(file[5:].rstrip("0123456789"), ())
        with_tool = [name for name in candidates if any(_path(tool) for tool in vendors.get(name, []))]
        by_files.update((with_tool or list(candidates[-1:]))[:1])
    return sorted(by_files)


def _vendor(
    name: str, known: list[dict[str, Any]], found: dict[str, Any], deadline: float, root: str
) -> dict[str, Any]:
    rows = [row for row in found["devices"] if row["vendor"] == name and row["kind"] == "accelerator"]
    answer: dict[str, Any] = {
        "vendor": name,
        "tool": None,
        "looked_for": [tool["name"] for tool in known],
        "places": _folders([place for tool in known for place in tool["places"]]),
        "said": {},
        "devices": {row["address"]: _link(root, row["address"], LINK) for row in rows},
        "above": {row["address"]: _above(root, row["path"]) for row in rows},
        "closed": closed(name, found["files"], root),
    }
    for tool in known:
        path = _path(tool)
        if path:
            answer.update(tool=tool["name"], said=_ask(path, tool, deadline))
            if any(said.get("status") == 0 for said in answer["said"].values()) or time.monotonic() >= deadline:
                return answer
    if not answer["tool"] and _may_compute(name, found):
        argv = [sys.executable, "-B", "-c", CHILD, own_code.place()]
        answer["said"] = {"torch": _run(argv, dict(os.environ), deadline)}
    return answer


def _may_compute(name: str, found: dict[str, Any]) -> bool:
    """Whether torch could speak of it: not where it would speak of NVIDIA's, nor without the device file."""
    if any(row["vendor"] in ELSEWHERE for row in found["devices"]):
        return False
    kinds = {file[5:].rstrip("0123456789") for file in found["files"]}
    return name not in NEEDS or bool(kinds & set(NEEDS[name]))


def _folders(places: list[str]) -> list[str]:
    return [*os.environ.get("PATH", os.defpath).split(":"), *verbs.SYSTEM_FOLDERS.split(":"), *places]


def _path(tool: dict[str, Any]) -> str | None:
    paths = (os.path.join(folder, tool["name"]) for folder in _folders(tool["places"]))
    return next((path for path in paths if os.access(path, os.X_OK) and os.path.isfile(path)), None)


def _ask(path: str, tool: dict[str, Any], deadline: float) -> dict[str, Any]:
    """What each command printed. ``{id}`` in a command stands for every id that its tool's first output names."""
    environment = dict(os.environ, LC_ALL="C")
    libraries = [environment.get("LD_LIBRARY_PATH", ""), *tool["libraries"]]
    environment["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
    said: dict[str, Any] = {}
    hung = ""
    ids: list[str] = []
    for name, argv in tool["commands"].items():
        each = ids if any("{id}" in word for word in argv) else [""]
        for one in each:
            words = [path, *(word.replace("{id}", one) for word in argv)]
            key = name.replace("{id}", one)
            said[key] = {"why": f"not asked after `{hung}` hung"} if hung else _run(words, environment, deadline)
            if said[key].pop("hung", False):
                hung = " ".join([tool["name"], *words[1:]])
        if not ids and tool.get("ids"):
            ids = sorted(set(re.findall(tool["ids"], said[name].get("stdout", ""), re.MULTILINE)), key=int)
    return said


def _run(argv: list[str], environment: dict[str, str], deadline: float) -> dict[str, Any]:
    words = " ".join([os.path.basename(argv[0]), *argv[1:]]) if CHILD not in argv else "torch"
    if time.monotonic() >= deadline:
        return {"why": f"no time was left for `{words}`"}
    try:
        done = verbs.run(argv, environment, OUTPUT_AT_MOST, deadline)
    except TimeoutError as error:
        return {"why": f"`{words}`: {error}", "hung": True}
    except OSError as error:
        return {"why": f"`{words}` could not be started: {error.strerror}"}
    return {"status": done["status"], "stdout": _compact(done["stdout"]), "stderr": _masked(done["stderr"][-2000:])}


def _compact(text: str) -> str:
    with contextlib.suppress(ValueError):
        text = json.dumps(json.loads(text), separators=(",", ":"))
    return _masked(text)


def _masked(text: str) -> str:
    """Serial numbers keep their last four characters."""
    return SERIAL.sub(lambda found: found[1] + "…" + found[2][-SHOWN:] if len(found[2]) > SHOWN else found[0], text)


def _link(root: str, address: str, files: tuple[str, ...]) -> dict[str, str]:
    here = os.path.join(root, "sys/bus/pci/devices", address)
    read = {name: proc.line(os.path.join(here, name)) for name in files}
    return {name: text for name, text in read.items() if text}


def _above(root: str, path: list[str]) -> list[dict[str, str]]:
    """Of the bridges on the way, without what is no PCI device: the host bridge, and what hypervisors put there."""
    return [_link(root, bridge, AT_MOST) for bridge in path if bridge.count(":") == ADDRESS_COLONS]


def closed(vendor: str, files: list[str], root: str = "/") -> list[str]:
    """Device files of the vendor that this user may not open, each with its group. None is opened."""
    wanted = [file for file in files if file[5:].rstrip("0123456789") in NEEDS.get(vendor, ())]
    if "kfd" in NEEDS.get(vendor, ()):
        render = sorted(name for name in proc.names(os.path.join(root, "dev/dri")) if name.startswith("renderD"))
        wanted += [f"/dev/dri/{name}" for name in render]
    return [f"{file}: {why}" for file in wanted for why in [_why_closed(os.path.join(root, file[1:]))] if why]


def _why_closed(path: str) -> str:
    if os.access(path, os.R_OK | os.W_OK):
        return ""
    try:
        group = os.stat(path).st_gid
    except OSError as error:
        return str(error.strerror)
    import grp

    try:
        name = grp.getgrgid(group).gr_name
    except KeyError:
        name = "without a name"
    return f"permission denied (group {name}, gid {group}; this user's: {' '.join(map(str, sorted(os.getgroups())))})"
