"""How do docker, nerdctl and podman spell what is asked of them? Data and pure functions: nothing is run here."""

from __future__ import annotations

from typing import Protocol

import msgspec

from diag.inventory import Host

LABEL_RUN, LABEL_PID = "diag.run", "diag.pid"
MARK = "DIAG_JOB"
MOST_OPEN = 1048576
"""As vLLM's and NVIDIA's own command lines raise it; never above what the kernel allows."""
CDI_NVIDIA = "nvidia.com/gpu"
OF_A_GPU = {"/dev/dri": ("/dev/kfd", "/dev/mxcd")}
"""Is handed in only where one of these is there: elsewhere it is a display's."""
GONE = (
    "No such container", "no such container", "is not running", "no container with name or ID",
    "can only create exec sessions on running containers", "cannot exec in a stopped",
)  # fmt: skip
"""What ``exec`` says where nothing of ours can be left."""


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """What differs. ``gpus``: NVIDIA's by its toolkit, where one of ``toolkit`` is installed; all of them know CDI."""

    name: str
    gpus: tuple[str, ...] = ()
    toolkit: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    """What ``run`` is told in addition: to keep no log of what the agent says."""
    rootless_limits: tuple[str, ...] = ()
    """In place of the limits, where a user without root starts it and could not raise them."""
    group: str = ""
    denied: str = ""
    """What to do where its socket is closed to us."""


RUNTIMES = (
    Runtime(
        name="docker",
        gpus=("--gpus", "all"),
        toolkit=("nvidia-container-runtime-hook", "nvidia-container-toolkit"),
        run=("--log-driver", "none"),
        denied="add this user to the group docker there, or log in as root, or name --runtime podman",
    ),
    Runtime(
        name="nerdctl",
        gpus=("--gpus", "all"),
        toolkit=("nvidia-container-cli",),
        denied="log in as root, or set up rootless containerd, or name --runtime podman",
    ),
    Runtime(
        name="podman",
        run=("--log-driver", "none"),
        rootless_limits=("--ulimit", "host"),
        group="keep-groups",
        denied="see whether this user has subordinate ids (/etc/subuid) and a folder in /run/user there",
    ),
)
"""In the order in which they are looked for."""


class Containables(msgspec.Struct, frozen=True, kw_only=True):
    """What a node has to give to a container (``containables`` of diag/node)."""

    devices: tuple[str, ...]
    groups: tuple[int, ...]
    nvidia: bool
    tools: tuple[str, ...]
    cdi: tuple[str, ...]
    root: bool
    most_open: int
    drivers: tuple[str, ...] = ()
    folders: tuple[tuple[str, str], ...] = ()


class Agent(Protocol):
    """The one on the host, whose token and pid the container is labelled with."""

    @property
    def token(self) -> str: ...
    @property
    def pid(self) -> int: ...


def runtime(name: str) -> Runtime:
    return next(one for one in RUNTIMES if one.name == name)


# -- looking


def listed(one: Runtime) -> tuple[str, ...]:
    return (one.name, "ps", "-a", "--format", "{{.ID}}\t{{.Names}}\t{{.Status}}\t{{.Image}}")


def image_of(one: Runtime, container: str) -> tuple[str, ...]:
    return (one.name, "inspect", "--format", "{{.Image}}", container)


def image_id(one: Runtime, image: str) -> tuple[str, ...]:
    return (one.name, "image", "inspect", "--format", "{{.Id}}", image)


# -- entering and starting


def entered(one: Runtime, host: Host, token: str) -> tuple[str, ...]:
    """What goes before the interpreter in the container that the host names."""
    return (one.name, "exec", "-i", *_environment(host, token), str(host.container))


def started(
    one: Runtime, host: Host, agent: Agent, there: Containables, python: str, *, raised: bool = True
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The whole command but for the interpreter's own arguments, and what could not be handed in, each with why.

    ``raised``: its limits, above what the runtime itself has.
    """
    gpus, without = _gpus(one, there)
    argv = (
        one.name, "run", "--rm", "-i", "--pull", "never",
        "--label", f"{LABEL_RUN}={agent.token}", "--label", f"{LABEL_PID}={agent.pid}",
        "--network", "host", "--ipc", "host",
        *(_limits(one, there) if raised else ()), *_devices(one, there), *gpus, *_mounts(there), *one.run,
        *_environment(host, agent.token), "--entrypoint", python, str(host.image),
    )  # fmt: skip
    return argv, without


def shown(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Of the environment its names alone: a value may be a token."""
    before = ("", *argv)
    return tuple(word.partition("=")[0] if last == "-e" else word for last, word in zip(before, argv, strict=False))


def _environment(host: Host, token: str) -> tuple[str, ...]:
    """The mark, by which the agent on the host knows what is inside as its own; what the inventory sets."""
    pairs = ((MARK, f"{token}.inside"), *host.env)
    return tuple(word for name, value in pairs for word in ("-e", f"{name}={value}"))


def _limits(one: Runtime, there: Containables) -> tuple[str, ...]:
    if not there.root and one.rootless_limits:
        return one.rootless_limits
    most = min(MOST_OPEN, there.most_open)
    return ("--ulimit", "memlock=-1", "--ulimit", f"nofile={most}:{most}")


def _devices(one: Runtime, there: Containables) -> tuple[str, ...]:
    """Device files, and the groups to which they belong: an image's user may not be root."""
    given = [
        path
        for path in there.devices
        if path != "/dev/nvidiactl" and (path not in OF_A_GPU or set(OF_A_GPU[path]) & set(there.devices))
    ]
    groups = [one.group] if one.group and not there.root and given else [str(gid) for gid in there.groups if given]
    named = (("--device", given), ("--group-add", groups))
    return tuple(word for option, values in named for value in values for word in (option, value))


def _gpus(one: Runtime, there: Containables) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """NVIDIA's come with their libraries: by the toolkit's hook, or as CDI describes them."""
    if not there.nvidia:
        return (), ()
    if set(one.toolkit) & set(there.tools):
        return one.gpus, ()
    if CDI_NVIDIA in there.cdi:
        return ("--device", f"{CDI_NVIDIA}=all"), ()
    wanted = " or ".join(filter(None, (one.toolkit[0] if one.toolkit else "", f"a CDI specification of {CDI_NVIDIA}")))
    return (), (f"NVIDIA GPUs: no {wanted} there",)


def _mounts(there: Containables) -> tuple[str, ...]:
    """Read-only, at the same place; unlike ``-v`` this makes no folder where one is missing."""
    folders = (*((path, path) for path in there.drivers), *there.folders)
    return tuple(word for here, inside in folders for word in ("--mount", _mount(here, inside)))


def _mount(here: str, inside: str) -> str:
    """The runtimes read it as a line of CSV."""
    fields = ("type=bind", f"source={here}", f"target={inside}", "readonly")
    return ",".join('"' + field.replace('"', '""') + '"' if set(field) & set(',"') else field for field in fields)


# -- removing


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent on the host removes at its end (``guards`` of diag/node)."""

    what: str
    list: tuple[str, ...]
    remove: tuple[str, ...] = ()
    looks: int = 1
    gone: tuple[str, ...] = ()


def guard_of_started(one: Runtime, host: Host, token: str, looks: int) -> Guard:
    return Guard(
        what=f"container of {host.image}, label {LABEL_RUN}={token}:",
        list=(one.name, "ps", "-aq", "--filter", f"label={LABEL_RUN}={token}"),
        remove=(one.name, "rm", "-f"),
        looks=looks,
    )


def guard_of_entered(one: Runtime, host: Host, token: str, python: str, sweep: str) -> Guard:
    """``sweep``: a program that kills what carries the token inside, and prints what stays."""
    return Guard(
        what=f"processes in container {host.container}:",
        list=(one.name, "exec", str(host.container), python, "-B", "-c", sweep, token),
        gone=GONE,
    )
