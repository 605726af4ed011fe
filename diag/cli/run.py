"""``diag run``: measure hosts, judge them, plan a launch."""

from __future__ import annotations

from pathlib import Path

import click

from diag.cli.options import (
    FOLDER,
    RUNTIMES,
    as_deadlines,
    as_message_size,
    as_minutes,
    as_seconds,
    excluding,
    judging,
    telling,
)
from diag.wishes import LEVELS, PAIRS, SHARED


@click.command("run")
@click.option("--hosts", metavar="NODESET", help="Hosts to reach over SSH, e.g. gpu[01-04],ops@10.0.0.9:2222.")
@click.option("--hostfile", type=FOLDER, metavar="FILE", help="One host a line, as MPI and DeepSpeed write it.")
@click.option("--inventory", type=FOLDER, metavar="FILE", help="TOML with [defaults], [groups.…] and [hosts.…].")
@click.option("--user", metavar="NAME", help="Log in as NAME.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Port of sshd.")
@click.option("--identity", type=FOLDER, multiple=True, metavar="FILE", help="Private key; may be given several times.")
@click.option("--ask-pass", is_flag=True, help="Ask once for a password; it is kept in memory only.")
@click.option("--ssh-config", type=FOLDER, metavar="FILE", help="Instead of ~/.ssh/config and /etc/ssh/ssh_config.")
@click.option("--accept-new-host-keys", is_flag=True, help="Add unknown host keys; changed ones are still refused.")
@click.option("--connect-timeout", type=float, callback=as_seconds, metavar="SECONDS", help="For each connection.")
@click.option("--python", metavar="PATH", help="Interpreter on the nodes; torch is looked for under it.")
@click.option("--exec", "wrapper", metavar="COMMAND", help="In front of it, e.g. 'docker exec -i vllm'.")
@click.option("--container", metavar="NAME", help="The engine runs in this container, which is running already.")
@click.option("--image", metavar="REF", help="The engine runs in a container of this image; it is never pulled.")
@click.option("--runtime", type=click.Choice(RUNTIMES), help="Of --container and --image; else the first there is.")
@click.option("--interface", metavar="NAME", help="The interface that carries data between nodes.")
@click.option(
    "--model", metavar="DIR|NAME", help="Model directory as the nodes see it; a bundled name is only planned for."
)
@click.option("--engine", default="vllm", show_default=True, metavar="NAME[==VERSION]", help="What is to be launched.")
@excluding
@click.option("--level", type=click.Choice(LEVELS), default="normal", show_default=True, help="How much load to make.")
@click.option("--minutes", type=float, callback=as_minutes, metavar="N", help="Of level burn; else 10.")
@click.option("--even-if-busy", is_flag=True, help="Load busy nodes too; never fills their memory, never burns.")
@click.option("--even-if-shared", type=click.Choice(SHARED), multiple=True, help="Load GPUs that are shared so, too.")
@click.option(
    "--deadline",
    "deadlines_s",
    multiple=True,
    callback=as_deadlines,
    metavar="STAGE=SECONDS",
    help="Of reach, facts, measure, speed, ladder, links, collectives, retry, judge or plan; several times.",
)
@click.option(
    "--max-size",
    default="64MiB",
    show_default=True,
    callback=as_message_size,
    metavar="SIZE",
    help="Largest message of the all-reduce.",
)
@click.option(
    "--pairs", type=click.Choice(PAIRS), default="ring", show_default=True, help="Which pairs of nodes are measured."
)
@click.option("--max-pairs", type=click.IntRange(min=1), metavar="N", help="At most; the rest is said.")
@click.option("--budget", type=float, callback=as_seconds, metavar="SECONDS", help="For the links, all of it.")
@click.option("--out", type=FOLDER, metavar="DIR", help="The run directory; else one in ~/.local/state/diag/runs.")
@judging
@telling
def command(
    *, hosts: str | None, hostfile: Path | None, inventory: Path | None,
    user: str | None, port: int | None, identity: tuple[Path, ...], ask_pass: bool, ssh_config: Path | None,
    accept_new_host_keys: bool, connect_timeout: float | None,
    python: str | None, wrapper: str | None, container: str | None, image: str | None, runtime: str | None,
    interface: str | None,
    model: str | None, engine: str, exclude: str | None, level: str,
    minutes: float | None, even_if_busy: bool, even_if_shared: tuple[str, ...],
    deadlines_s: dict[str, float], max_size: int, pairs: str, max_pairs: int | None, budget: float | None,
    out: Path | None,
    folders: tuple[Path, ...], keyword: str, exitfirst: bool, fail_on: str, baseline: Path | None,
    as_json: bool, junit: Path | None, verbose: bool, quiet: bool,
) -> int:  # fmt: skip
    """Measure hosts, judge them, plan a launch. Without a selection: this machine."""
    from diag.cli import preflight, selection  # noqa: PLC0415 - `diag run --help` needs no paramiko
    from diag.cli.judging import Judging, Telling  # noqa: PLC0415 - nor pytest

    chosen = selection.hosts(hosts, hostfile, inventory)
    settings = selection.settings(
        user=user, port=port, python=python, interface=interface, wrapper=wrapper,
        container=container, image=image, runtime=runtime,
    )  # fmt: skip
    login = selection.login(ssh_config, identity, accept_new_host_keys, connect_timeout, ask_pass=ask_pass)
    return preflight.run(
        preflight.Order(
            hosts=selection.override(chosen, settings), login=login, level=level, model=model, engine=engine,
            excluded=selection.excluded(exclude, chosen), minutes=minutes,
            permitted=frozenset((*even_if_shared, *(("busy",) if even_if_busy else ()))),
            deadlines_s=deadlines_s if budget is None else {"links": budget, **deadlines_s},
            max_size_bytes=max_size, pairs=pairs, max_pairs=max_pairs, out=out,
            judging=Judging(
                folders=folders, keyword=keyword, exitfirst=exitfirst, fail_on=fail_on, baseline=baseline
            ),
            telling=Telling(verbose=verbose, quiet=quiet, as_json=as_json, junit=junit),
        )
    )  # fmt: skip
