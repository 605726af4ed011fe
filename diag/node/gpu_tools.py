"""What do NVIDIA's own tools say here: the Fabric Manager's unit, the container toolkit, DCGM's health?"""

from __future__ import annotations

import os
import time

import gpus
import verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TOOLS = {
    "fabric_manager": (
        "systemctl", "show", "nvidia-fabricmanager.service", "--property=LoadState,ActiveState", "--no-pager",
    ),
    "container_toolkit": ("nvidia-container-cli", "--version"),
    "container_runtime": ("nvidia-container-runtime", "--version"),
    "dcgm": ("dcgmi", "health", "-c", "-j"),
}  # fmt: skip
"""Each only reads: DCGM's watches are neither set nor cleared."""
OUTPUT_AT_MOST = 8192


def tools(seconds: float, root: str = "/") -> dict[str, Any]:
    """Tool -> ``{"status", "stdout", "stderr"}``; None: not installed; text: why there is no answer."""
    if gpus.proven_absent(root):
        return {"absent": True}
    environment = dict(os.environ, LC_ALL="C")
    environment["PATH"] = os.environ.get("PATH", os.defpath) + ":" + verbs.SYSTEM_FOLDERS
    return {name: _answer(argv, environment, seconds) for name, argv in TOOLS.items()}


def _answer(argv: tuple[str, ...], environment: dict[str, str], seconds: float) -> Any:
    """The tool is looked for first: starting what is not there costs a process."""
    folders = environment["PATH"].split(":")
    if not any(os.access(os.path.join(folder, argv[0]), os.X_OK) for folder in folders if folder):
        return None
    try:
        return verbs.run(list(argv), environment, OUTPUT_AT_MOST, time.monotonic() + seconds)
    except OSError as error:  # a TimeoutError is one too
        return f"{argv[0]}: {error}"
