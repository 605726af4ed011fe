"""What is known of a host before it is reached: what the user wrote."""

from __future__ import annotations

import msgspec


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One selected host. ``name`` is what the user called it, in every output; None: the inventory does not say."""

    name: str
    transport: str = "ssh"
    """``ssh`` or ``local``."""
    address: str | None = None
    user: str | None = None
    port: int | None = None
    identity_file: str | None = None
    python: str | None = None
    """Interpreter where the engine runs; None: python3."""
    exec: tuple[str, ...] = ()
    """Wrapper in front of the interpreter, e.g. ``docker exec -i NAME``."""
    image: str | None = None
    """The engine runs in a container of this image, which is started for the run and removed after it."""
    container: str | None = None
    """The engine runs in this container, which is running already."""
    runtime: str | None = None
    """``docker``, ``nerdctl`` or ``podman``; None: the first that the node has."""
    env: tuple[tuple[str, str], ...] = ()
    """Set for the agent and what it starts."""
    interface: str | None = None
    """The interface that carries data between nodes."""
    leaf: str | None = None
    """The switch that it hangs on, by a name that its neighbours share."""
    slots: int | None = None
    """GPUs or ranks the host file declares."""
    where: str = ""
    """Where the user wrote it, e.g. ``hosts.txt:3``."""
