"""May the words for where an engine runs be said together, and which of them wins?"""

from __future__ import annotations

import pytest

from diag.cli import options, selection
from diag.errors import DiagError
from diag.inventory import Host, commandline, hostfile, toml
from diag.remote.runtimes import RUNTIMES

FILE = """\
[defaults]
container = "vllm"
runtime = "podman"
[hosts.a]
[hosts.b]
image = "vllm/vllm-openai:v0.11.0"
[hosts.c]
exec = "docker exec -i x"
"""


@pytest.fixture
def hosts(tmp_path) -> dict[str, Host]:
    (tmp_path / "c.toml").write_text(FILE)
    return {host.name: host for host in toml.read(tmp_path / "c.toml")}


def way(host: Host) -> tuple[object, ...]:
    return host.exec, host.image, host.container, host.runtime


def test_the_more_particular_wins_as_a_whole(hosts):
    assert way(hosts["a"]) == ((), None, "vllm", "podman")
    assert way(hosts["b"]) == ((), "vllm/vllm-openai:v0.11.0", None, "podman")
    assert way(hosts["c"]) == (("docker", "exec", "-i", "x"), None, None, None)


def test_what_is_typed_takes_back_what_a_file_says(hosts):
    typed = selection.settings(wrapper=None, image="sglang:latest", container=None, runtime=None)
    for host in commandline.override(hosts.values(), typed):
        assert way(host)[:3] == ((), "sglang:latest", None)
    wrapped = selection.settings(wrapper="podman exec -i y", image=None, container=None, runtime=None)
    for host in commandline.override(hosts.values(), wrapped):
        assert way(host) == (("podman", "exec", "-i", "y"), None, None, None)


def test_a_host_file_knows_them_too(tmp_path):
    (tmp_path / "hosts.txt").write_text("gpu01 container=vllm runtime=nerdctl\n")
    (host,) = hostfile.read(tmp_path / "hosts.txt")
    assert way(host) == ((), None, "vllm", "nerdctl")


TYPED = {
    "--image and --container: an engine runs in one place; give one of them": {"image": "a", "container": "b"},
    "--exec and --image: an engine runs in one place; give one of them": {"wrapper": "docker exec -i b", "image": "a"},
    "--image: image '-v' is no image; expected e.g. vllm/vllm-openai:v0.11.0": {"image": "-v"},
    "--container: container 'a b' is no container; expected its name or id": {"container": "a b"},
    "--image: '': empty; give it a value, or leave it out": {"image": ""},
}


@pytest.mark.parametrize("line", TYPED)
def test_what_makes_no_sense_is_one_line(line):
    with pytest.raises(DiagError) as error:
        selection.settings(**{"wrapper": None, **TYPED[line]})
    assert str(error.value) == line


def test_a_runtime_without_a_container_is_one_line():
    typed = selection.settings(wrapper=None, runtime="podman")
    with pytest.raises(DiagError) as error:
        selection.override(selection.hosts("a,b", None, None), typed)
    assert str(error.value) == (
        "--hosts: runtime podman for a: no container to enter, no image to start;"
        " name one with --container or --image, or leave the runtime out"
    )


WRITTEN = {
    "[hosts.a]\nimage = 'a'\ncontainer = 'b'": 'c.toml:1: [hosts."a"]: image and container: an engine runs in one',
    "[hosts.a]\nruntime = 'lxc'": "c.toml:2: [hosts.\"a\"]: runtime 'lxc' is no runtime; expected one of docker",
    "[hosts.a]\nimage = 3": 'c.toml:2: [hosts."a"]: image = 3; expected a text in quotes',
}


@pytest.mark.parametrize("text", WRITTEN)
def test_a_slip_in_a_file_is_one_line(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(DiagError) as error:
        toml.read(path.relative_to(tmp_path))
    assert str(error.value).startswith(WRITTEN[text])


def test_the_runtimes_that_can_be_named_are_those_that_are_known():
    assert tuple(one.name for one in RUNTIMES) == options.RUNTIMES
