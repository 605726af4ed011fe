"""Which hosts and which log-in does the command line mean?"""

from __future__ import annotations

import io
import sys

import pytest

from diag.cli import selection
from diag.errors import DiagError


def test_without_a_selection_it_is_this_machine():
    [host] = selection.hosts(None, None, None)
    assert host.transport == "local"


def test_hosts_come_from_one_source_only(tmp_path):
    with pytest.raises(DiagError) as error:
        selection.hosts("a", tmp_path, None)
    assert str(error.value) == "--hosts and --hostfile: hosts selected in more than one way; give one of them"


def test_what_is_typed_holds_for_every_host():
    settings = selection.settings(
        user="ops", port=None, python="/opt/bin/python3", interface=None, wrapper="docker exec -i 'a b'"
    )
    [host, _] = selection.override(selection.hosts("root@a,b", None, None), settings)
    assert host.user == "root"
    assert host.python == "/opt/bin/python3"
    assert host.exec == ("docker", "exec", "-i", "a b")


def test_a_wrapper_that_is_no_command_is_one_line():
    with pytest.raises(DiagError) as error:
        selection.settings(wrapper="docker 'x")
    line = "--exec: \"docker 'x\": No closing quotation; expected e.g. 'docker exec -i vllm'"
    assert str(error.value) == line


def test_files_that_were_named_must_be_there(tmp_path):
    for option, config, identities in (("--ssh-config", tmp_path / "x", ()), ("--identity", None, (tmp_path / "x",))):
        with pytest.raises(DiagError, match=f"{option}: .*: no such file"):
            selection.login(config, identities, False, None, ask_pass=False)


def test_a_password_may_be_piped_in_and_is_asked_for_once(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\n"))
    options = selection.login(None, (), False, None, ask_pass=True)
    assert options.password is not None
    assert options.password() == options.password() == "secret"
    assert "secret" not in repr(options)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(DiagError, match="--ask-pass: no password was given"):
        selection.login(None, (), False, None, ask_pass=True)
