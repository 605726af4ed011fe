"""Which modules, services, files and bridges stand behind a node's GPUs? None: it has no accelerator."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from diag.facts.device import Bridge, GpuSystem
from diag.facts.record import Missing, NotMeasured
from diag.probes import containers, vendors
from diag.probes.gpus_nvml import Nvml
from diag.probes.probe import Answers, Probe, always, gap, maybe, told
from diag.probes.verbs import Ask, Request

TOOL_S = 2.5
"""Each of four tools."""
MISMATCH = "mismatch"
"""In NVML's words for its error 18."""
OPEN_MODULE = "Open Kernel Module"
DMA_BUF_KERNEL, DMA_BUF_DRIVER = (5, 12), 515
"""https://docs.nvidia.com/cuda/gpudirect-rdma/ : DMA-BUF needs Linux 5.12 and the open module, which began with 515."""
VERSION = re.compile(r"\b(\d+(?:\.\d+)+)")
TRANSLATED = ("DMA", "DMA-FQ")
SAID_AT_MOST = 200


class _System(msgspec.Struct, frozen=True):
    absent: bool = False
    modules: tuple[str, ...] | None = None
    driver_text: str | None = None
    driver: str | None = None
    library: str | None = None
    nvswitches: int = 0
    iommu: tuple[tuple[str, str | None], ...] = ()
    command_line: str | None = None
    bridges: tuple[tuple[str, bool | str | None], ...] = ()
    files: tuple[str, ...] = ()
    daemons: tuple[str, ...] = ()
    hidden: str = ""
    mps_pipe: bool = False


class _Ran(msgspec.Struct, frozen=True):
    status: int
    stdout: str
    stderr: str


Tool = _Ran | str | None
"""What it printed; why it did not answer; None: it is not installed."""


class _Tools(msgspec.Struct, frozen=True):
    absent: bool = False
    fabric_manager: Tool = None
    container_toolkit: Tool = None
    container_runtime: Tool = None
    dcgm: Tool = None


def read(answers: Answers) -> GpuSystem | None:
    system = told(answers, "gpu system", _System)
    if system.absent:
        told(answers, "gpu tools", _Tools)  # absence is proven by all who looked
        return None
    tools = maybe(lambda: told(answers, "gpu tools", _Tools))
    hidden = system.hidden or _inside_container(answers)
    return GpuSystem(
        modules=gap("/proc/modules cannot be read") if system.modules is None else system.modules,
        kernel_driver=_kernel_driver(system),
        library_mismatch=maybe(lambda: _mismatch(answers, system)),
        nvswitches=system.nvswitches,
        fabric_manager=maybe(lambda: _fabric_manager(system, tools, hidden)),
        persistence_daemon=_runs("persistence", system, hidden),
        mps=_mps(system, hidden),
        dma_buf=maybe(lambda: _dma_buf(answers, system)),
        iommu=maybe(lambda: _iommu(system)),
        bridges=tuple(Bridge(address=address, acs=_acs(said)) for address, said in system.bridges),
        files=maybe(lambda: (*system.files, *vendors.closed_files(answers))),
        container_toolkit=maybe(lambda: _toolkit(tools)),
        dcgm=maybe(lambda: _dcgm(tools)),
    )


def _inside_container(answers: Answers) -> str:
    found = maybe(lambda: containers.read(answers))
    if isinstance(found, Missing):
        return f"whether this is a container is not known ({found.why})"
    return "a container does not show the host's processes" if found.kind else ""


def _kernel_driver(system: _System) -> str | None:
    """A driver of NVIDIA's; None: its module is not loaded."""
    match = VERSION.search(system.driver_text or "")
    return system.driver or (match[1] if match else None)


def _mismatch(answers: Answers, system: _System) -> str | None:
    """NVML's own words, or its file's version against the module's; NVML that answers is proof that they agree."""
    said = maybe(lambda: told(answers, "gpus", Nvml))
    if not isinstance(said, Missing):
        return None
    if MISMATCH in said.why.lower():
        return said.why.partition("NVML: ")[2] or said.why
    module = _kernel_driver(system)
    if system.library is None or module is None:
        raise NotMeasured(f"NVML did not answer ({said.why})")
    return None if system.library == module else f"library {system.library}, kernel module {module}"


def _runs(daemon: str, system: _System, hidden: str) -> Any:
    return daemon in system.daemons or (gap(hidden) if hidden else False)


def _mps(system: _System, hidden: str) -> Any:
    """Where processes are hidden its pipe is believed, without one that is not known to be absent."""
    return True if hidden and system.mps_pipe else _runs("mps", system, hidden)


def _fabric_manager(system: _System, tools: _Tools | Missing, hidden: str) -> str | None:
    """A process that runs counts more than its unit: it may have been started by hand."""
    if "fabric_manager" in system.daemons:
        return "active"
    if isinstance(tools, Missing):
        raise NotMeasured(tools.why)
    unit = tools.fabric_manager
    if isinstance(unit, _Ran) and "LoadState=" in unit.stdout and not hidden:
        if "LoadState=not-found" in unit.stdout:
            return None
        state = re.search(r"ActiveState=(\w+)", unit.stdout)
        # A unit that systemd calls active has its process: none was seen, so it is one that ends after its start.
        return state[1] if state and state[1] != "active" else "inactive"
    raise NotMeasured(hidden or _no_unit(unit))


def _no_unit(unit: Tool) -> str:
    if unit is None:
        return "no such process, and there is no systemctl here"
    return unit if isinstance(unit, str) else f"systemctl: {(unit.stderr or unit.stdout).strip()[:SAID_AT_MOST]}"


def _dma_buf(answers: Answers, system: _System) -> bool | None:
    """None: no driver of NVIDIA's is loaded. Older kernels of distributions may carry it: that is not known."""
    if system.driver_text is None:
        if _kernel_driver(system) is None:
            return None
        raise NotMeasured("/proc/driver/nvidia/version cannot be read, so which kind of module it is is not known")
    if OPEN_MODULE not in system.driver_text:
        return False
    driver = _kernel_driver(system) or "0"
    kernel = told(answers, "machine", _Machine).kernel
    numbers = tuple(int(part) for part in re.findall(r"\d+", kernel)[:2])
    if numbers < DMA_BUF_KERNEL:
        raise NotMeasured(f"kernel {kernel} has it only where its distribution brought it there")
    return int(driver.partition(".")[0]) >= DMA_BUF_DRIVER


class _Machine(msgspec.Struct, frozen=True):
    kernel: str


def _iommu(system: _System) -> str:
    """Of the groups in which our devices are: one that translates is enough to bend the path between two."""
    kinds = {kind for _, kind in system.iommu}
    if kinds & set(TRANSLATED):
        return "translated"
    if "" in kinds or not system.iommu:
        return _iommu_by_command_line(system.command_line)
    return "off" if kinds <= {None} else "passthrough"


def _iommu_by_command_line(line: str | None) -> str:
    if line is None:
        raise NotMeasured("neither the IOMMU's groups nor the kernel's command line can be read")
    words = line.split()
    if "iommu=pt" in words or "iommu.passthrough=1" in words:
        return "passthrough"
    if any(word in words for word in ("iommu=off", "intel_iommu=off", "amd_iommu=off")):
        return "off"
    raise NotMeasured("this kernel does not show the type of the IOMMU's groups")


def _acs(said: bool | str | None) -> Any:
    return gap(said) if isinstance(said, str) else said


def _toolkit(tools: _Tools | Missing) -> str | None:
    if isinstance(tools, Missing):
        raise NotMeasured(tools.why)
    found = [tool for tool in (tools.container_toolkit, tools.container_runtime) if tool is not None]
    for tool in found:
        match = VERSION.search(tool.stdout) if isinstance(tool, _Ran) else None
        if match:
            return match[1]
    if found:
        raise NotMeasured(found[0] if isinstance(found[0], str) else f"unexpected: {found[0].stdout.strip()[:80]!r}")
    return None


def _dcgm(tools: _Tools | Missing) -> str | None:
    """Its tool prints errors on standard output, and JSON where it succeeds (DCGM's dcgmi/Health.cpp)."""
    if isinstance(tools, Missing):
        raise NotMeasured(tools.why)
    ran = tools.dcgm
    if not isinstance(ran, _Ran):
        if ran is None:
            return None
        raise NotMeasured(ran)
    try:
        body = json.loads(ran.stdout[ran.stdout.index("{") :])["body"]
        overall = str(body["Overall Health"]["value"])
    except (ValueError, KeyError, TypeError):
        words = " ".join((ran.stdout + ran.stderr).split())[:SAID_AT_MOST]
        raise NotMeasured(f"dcgmi: {words or 'it printed nothing'}") from None
    return "healthy" if overall == "Healthy" else f"{overall}: {'; '.join(_incidents(body))}"[:SAID_AT_MOST]


def _incidents(held: Any) -> list[str]:
    """The texts of all overflows, wherever they hang: what was found, entity by entity."""
    if isinstance(held, dict):
        own = [str(line) for line in held.get("overflow", [])]
        return own + [line for name, value in held.items() if name != "overflow" for line in _incidents(value)]
    return []


PROBE = Probe(
    topic="gpu_system",
    requests=always(
        Request(name="gpu system", verb=Ask("gpu_system:system")),
        Request(name="gpu tools", verb=Ask("gpu_tools:tools", {"seconds": TOOL_S}), deadline_s=4 * TOOL_S + 2),
    ),
    read=read,
)
