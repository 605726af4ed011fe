"""Is what no host can be handed refused where it is read, with one line that says why?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diag.errors import DiagError
from diag.inventory import commandline, hostfile, toml

NAMES = {
    "a..b": "'a..b': no host name: an empty part beside a dot",
    "x" * 64: f"'{'x' * 40}'…: no host name: a part longer than 63 characters",
    f"a,b.{'y' * 64}.example": f"'b.{'y' * 38}'…: no host name: a part longer than 63 characters",
}


@pytest.mark.parametrize("text", NAMES)
def test_a_name_that_no_resolver_could_be_asked_for_is_one_line(text):
    with pytest.raises(DiagError) as error:
        commandline.from_text(text)
    assert str(error.value) == f"--hosts: {NAMES[text]}"


@pytest.mark.parametrize("text", ["gpu01.example.", "x" * 63, "zürich", "2001:db8::1", "under_score"])
def test_a_name_that_a_resolver_could_be_asked_for_is_taken(text):
    assert [host.name for host in commandline.from_text(text)] == [text]


HOSTFILES = {
    "a python=-c": "hosts.txt:1: python = '-c': begins with a dash; expected a program's name or path",
    "a user=o\0ps": "hosts.txt:1: user = 'o\\x00ps': a NUL byte in it; leave it out",
    f"a address={'x' * 64}": f"hosts.txt:1: address: '{'x' * 40}'…: no host name: a part longer than 63 characters",
    "a identity_file=~nosuch/x": "hosts.txt:1: ~nosuch/x: ~nosuch is nobody's home here",
}


@pytest.mark.parametrize("text", HOSTFILES)
def test_a_setting_of_a_host_file_that_cannot_be_handed_on_is_one_line(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("hosts.txt").write_text(text)
    with pytest.raises(DiagError) as error:
        hostfile.read(Path("hosts.txt"))
    assert str(error.value) == HOSTFILES[text]


INVENTORIES = {
    '[hosts.a]\nenv = { A = "x\\ny" }': "c.toml:2: [hosts.\"a\"]: env A = 'x\\ny': a line break in it; leave it out",
    '[hosts.a]\nenv = { A = "x\\u0000" }': "c.toml:2: [hosts.\"a\"]: env A = 'x\\x00': a NUL byte in it; leave it out",
    '[hosts.a]\nenv = { "A\\n" = "x" }': "c.toml:2: [hosts.\"a\"]: env 'A\\n': a line break in it; leave it out",
    '[hosts.a]\npython = "a\\nb"': "c.toml:2: [hosts.\"a\"]: python = 'a\\nb': a line break in it; leave it out",
    "[hosts.a]\npython = '-c'": "c.toml:2: [hosts.\"a\"]: python = '-c': begins with a dash; expected",
    '[hosts.a]\nexec = ["a", "b\\u0000"]': "c.toml:2: [hosts.\"a\"]: exec: 'b\\x00': a NUL byte in it; leave it out",
    "[hosts.a]\nexec = ['-c']": "c.toml:2: [hosts.\"a\"]: exec: '-c': begins with a dash; expected",
    "[hosts.a]\naddress = 'a..b'": "c.toml:2: [hosts.\"a\"]: address: 'a..b': no host name: an empty part",
}


@pytest.mark.parametrize("text", INVENTORIES)
def test_a_setting_of_an_inventory_that_cannot_be_handed_on_is_one_line(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(text)
    with pytest.raises(DiagError) as error:
        toml.read(Path("c.toml"))
    assert str(error.value).startswith(INVENTORIES[text])
    assert "\n" not in str(error.value)


def test_what_is_no_regular_file_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for read in (hostfile.read, toml.read):
        with pytest.raises(DiagError) as error:
            read((tmp_path / "pipe").relative_to(tmp_path))
        assert str(error.value) == "pipe: no regular file; expected a text file"


def test_what_a_shell_hands_in_is_read():
    reading, writing = os.pipe()
    os.write(writing, b"gpu01\n")
    os.close(writing)
    assert [host.name for host in hostfile.read(Path(f"/dev/fd/{reading}"))] == ["gpu01"]
    os.close(reading)
