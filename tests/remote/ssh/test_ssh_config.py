"""What we read from ssh_config is what ``ssh -G`` reads."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path

import pytest

from diag.errors import DiagError
from diag.inventory import Host
from diag.remote import ssh_settings
from diag.remote.ssh_config import SshConfig
from diag.remote.ssh_options import SshOptions
from diag.remote.ssh_settings import Hop

USER = getpass.getuser()

CASES = {
    "the first value counts": "Host gpu*\n User one\nHost gpu1\n User two\n Port 23\nHost *\n Port 24\n",
    "a negated pattern wins": "Host gpu* !gpu1\n User ops\nHost *\n Port 2222\n",
    "a question mark is one character": "Host gpu?\n User ops\nHost gpu??\n Port 23\n",
    "brackets are no pattern": "Host gpu[0-9]\n User ops\n",
    "equals signs and quotes": 'Host=gpu1\n User = "op s"\n HostKeyAlias="alias"\n',
    "a comment ends a line": "Host gpu1 # the first\n User ops # not root\n Port 23\n",
    "lines before any host": "User early\nHost gpu1\n User late\n Port 23\n",
    "hostname with its token": "Host gpu1\n HostName %h.cluster.example\n",
    "identity files add up": "Host gpu1\n IdentityFile ~/a\n IdentityFile /keys/%h-%r-%p\nHost *\n IdentityFile ~/b\n",
    "certificates add up": "Host gpu1\n CertificateFile ~/.ssh/a-cert.pub\nHost *\n CertificateFile ~/b-cert.pub\n",
    "several known_hosts files": "UserKnownHostsFile ~/.ssh/kh1 /tmp/kh2\nGlobalKnownHostsFile /etc/kh3\n",
    "a tilde in the middle is a character": "IdentityFile /keys/a~b\nUserKnownHostsFile /kh/a~b\n",
    "a percent sign": "IdentityFile /keys/100%%\n",
    "an environment variable": "IdentityFile ${HOME}/keys/x\n",
    "match host sees the hostname": "Host gpu1\n HostName 10.0.0.9\nMatch host 10.0.0.*\n User ops\n",
    "match originalhost": "Host gpu1\n HostName 10.0.0.9\nMatch originalhost gpu*,!gpu2\n User ops\n",
    "match user": "Host gpu1\n User ops\nMatch user ops\n Port 23\nMatch user root,ops\n HostKeyAlias x\n",
    "match localuser": f"Match localuser {USER}\n Port 23\nMatch !localuser {USER}\n User no\n",
    "match all": "Host other\n User no\nMatch all\n User yes\n",
    "match negated": "Match !host gpu1\n User no\nMatch !host gpu2\n User yes\n",
    "match exec": 'Match exec "test %n = gpu1"\n User yes\nMatch exec false\n Port 23\n',
    "match exec does not read the terminal": 'Match exec "! read line"\n User yes\n',
    "match final": "Match final\n User last\nHost gpu1\n Port 23\n",
    "match final sees the hostname": "Host gpu1\n HostName 10.0.0.9\nMatch final host 10.0.0.9\n User last\n",
    "host in the final pass is the hostname": "Host gpu1\n HostName 10.0.0.9\nMatch final\nHost 10.0.0.9\n User last\n",
    "proxyjump": "Host gpu1\n ProxyJump ops@bastion:2222,second\n",
    "proxyjump none": "Host gpu1\n ProxyJump none\nHost *\n ProxyJump bastion\n",
    "proxyjump before proxycommand": "ProxyJump bastion\nProxyCommand nc %h %p\n",
    "proxycommand before proxyjump": "Host gpu1\n ProxyCommand nc %h %p\nHost *\n ProxyJump bastion\n",
    "proxycommand none": "ProxyCommand none\nProxyJump bastion\n",
    "a proxycommand keeps its quotes and its hash": "ProxyCommand sh -c 'echo \"%h\" # 5'\n",
    "connecttimeout in minutes": "ConnectTimeout 1m30s\n",
    "accept-new": "StrictHostKeyChecking accept-new\nHashKnownHosts yes\n",
    "identities only": "IdentitiesOnly yes\n",
    "include": "Include other\nHost *\n User here\n",
    "include with a pattern": "Include conf.d/*\n",
    "include of nothing": "Include missing/*\nUser ops\n",
    "include of an absolute path": "Include {ssh}/other\n",
    "include of a quoted path with a tilde": 'Include "~/.ssh/other"\n',
    "include in a block that matches": "Host gpu1\n Include other\n User here\n",
    "include in a block that does not": "Host gpu2\n Include other\n User here\nHost *\n HostKeyAlias x\n",
    "hosts inside an include inside a block that does not match": "Host gpu2\n Include blocks\n",
    "hosts inside an include inside a block that matches": "Host gpu1\n Include blocks\n Port 29\n",
    "a block goes on after an include": "Host gpu1\n Include blocks\n User after\nHost *\n Port 30\n",
    "include of an include": "Include outer\n",
    "include in a match": "Match host gpu1\n Include other\nMatch host gpu2\n Include blocks\n",
}
INCLUDED = {
    "other": "User other\nPort 31\n",
    "blocks": "Host gpu1\n Port 32\nHost gpu3\n User no\nMatch all\n HostKeyAlias from-blocks\n",
    "outer": "Host gpu1\nInclude conf.d/b\nInclude other\n",
    "conf.d/a": "Host gpu1\n Port 33\n",
    "conf.d/b": "Host gpu1\n Port 34\n User b\n",
}


@pytest.fixture
def write(home):
    def write_(text: str) -> str:
        ssh = home / ".ssh"
        (ssh / "conf.d").mkdir()
        for name, content in INCLUDED.items():
            (ssh / name).write_text(content)
        path = ssh / "config"
        path.write_text(text.replace("{ssh}", str(ssh)) + "Host *\n GlobalKnownHostsFile /dev/null\n")
        return str(path)

    return write_


def openssh(path: str, name: str) -> dict[str, list[str]]:
    """What the real client makes of it."""
    run = subprocess.run(
        ["ssh", "-G", "-F", path, name], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True
    )
    said: dict[str, list[str]] = {}
    for line in run.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        said.setdefault(keyword, []).append(value)
    return said


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["gpu1", "gpu12"])
def test_what_we_read_is_what_openssh_reads(case, name, write):
    if not shutil.which("ssh"):
        pytest.skip("no ssh here (openssh-client)")
    path = write(CASES[case])
    ours = ssh_settings.for_host(Host(name=name), SshOptions(config_path=path), SshConfig(path))
    theirs = openssh(path, name)
    assert [ours.host] == theirs["hostname"]
    assert [str(ours.port)] == theirs["port"]
    assert [ours.user] == theirs["user"]
    assert ours.host_key_alias == theirs.get("hostkeyalias", [None])[0]
    assert yes_no(ours.identities_only) == theirs["identitiesonly"]
    assert yes_no(ours.hash_known_hosts) == theirs["hashknownhosts"]
    assert ours.accept_new_host_keys == (theirs["stricthostkeychecking"] == ["accept-new"])
    assert f"{ours.connect_timeout_s or 0:g}" == theirs["connecttimeout"][0].replace("none", "0")
    assert bool(ours.jumps) == ("proxyjump" in theirs)
    assert bool(ours.proxy_command) == ("proxycommand" in theirs)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["gpu1", "gpu12"])
def test_the_words_of_paths_and_proxies_are_those_of_openssh(case, name, write):
    if not shutil.which("ssh"):
        pytest.skip("no ssh here (openssh-client)")
    path = write(CASES[case])
    ours, theirs = SshConfig(path).lookup(name, {}), openssh(path, name)
    for keyword in ("identityfile", "certificatefile", "proxyjump", "proxycommand"):
        if keyword in ours and ours[keyword] != ["none"]:
            assert ours[keyword] == theirs[keyword]
    if "userknownhostsfile" in ours:
        assert names(ours["userknownhostsfile"]) == names(theirs["userknownhostsfile"][0].split())


def names(paths: list[str]) -> list[str]:
    """Without the folder: ssh writes out a home of its own."""
    return [Path(path).name for path in paths]


def yes_no(value: bool) -> list[str]:
    return ["yes" if value else "no"]


def settings(text: str, write, host: Host | None = None, **options: object) -> ssh_settings.SshSettings:
    path = write(text)
    return ssh_settings.for_host(host or Host(name="gpu1"), SshOptions(config_path=path, **options), SshConfig(path))  # type: ignore[arg-type]


def test_tokens_tilde_and_variables_are_expanded_in_paths(write, home):
    said = settings(
        "Host gpu1\n HostName 10.0.0.9\n Port 23\n User ops\n"
        " IdentityFile ~/%n-%h-%p-%r-%%\n CertificateFile ${HOME}/c\n UserKnownHostsFile %d/k ~/l none\n",
        write,
    )
    assert said.identity_files == (f"{home}/gpu1-10.0.0.9-23-ops-%",)
    assert said.certificate_files == (f"{home}/c",)
    assert said.user_known_hosts == (f"{home}/k", f"{home}/l")


def test_tokens_of_a_proxy_command_are_expanded(write):
    said = settings("Host gpu1\n HostName h.example\n User ops\nProxyCommand nc %h %p %r %n %%\n", write)
    assert said.proxy_command == "nc h.example 22 ops gpu1 %"


@pytest.mark.parametrize("line", ["IdentityFile /k/%Z", "IdentityFile ${NO_SUCH_VARIABLE}/k", "ProxyCommand nc %Z"])
def test_a_token_without_a_value_is_refused(line, write):
    with pytest.raises(ValueError, match=r"unknown token %Z|is not set"):
        settings(line + "\n", write)


def test_a_name_with_a_meaning_for_the_shell_is_not_handed_to_a_proxy_command(write):
    with pytest.raises(ValueError, match="is no name to hand to a shell"):
        settings("ProxyCommand nc %h %p\n", write, Host(name="x", address="$(reboot)"))


def test_jump_hosts_have_users_and_ports(write):
    said = settings("ProxyJump ops@bastion:2222,second,ssh://me@third:24,[fe80::1]:25\n", write)
    assert said.jumps == (
        Hop(name="bastion", user="ops", port=2222),
        Hop(name="second"),
        Hop(name="third", user="me", port=24),
        Hop(name="fe80::1", port=25),
    )


def test_the_command_line_wins_over_the_file_and_the_inventory_over_both(write):
    text = "User file\nPort 23\nIdentityFile /file\nHostName file.example\n"
    asked = settings(text, write, user="asked", port=24, identity_files=("/asked",))
    assert (asked.user, asked.port, asked.identity_files) == ("asked", 24, ("/asked", "/file"))
    host = Host(name="gpu1", user="host", port=25, identity_file="/host", address="10.0.0.1")
    own = ssh_settings.for_host(host, SshOptions(user="asked", port=24), SshConfig("/dev/null"))
    assert (own.user, own.port, own.identity_files[0], own.host) == ("host", 25, "/host", "10.0.0.1")


def test_what_the_command_line_says_counts_in_match(write):
    assert settings("Match user ops\n Port 23\n", write, user="ops").port == 23


def test_a_jump_host_has_its_own_user_and_keys(write):
    path = write("Host bastion\n IdentityFile /bastion\n")
    options = SshOptions(config_path=path, user="ops", identity_files=("/asked",))
    hop = ssh_settings.for_hop(Hop(name="bastion"), options, SshConfig(path))
    assert (hop.user, hop.identity_files) == (USER, ("/bastion",))


def test_unchecked_host_keys_are_not_obeyed_and_told(write):
    said = settings("StrictHostKeyChecking no\n", write)
    assert not said.accept_new_host_keys
    assert said.advice == ("ssh_config: StrictHostKeyChecking no is not obeyed: host keys are verified",)


def test_without_files_the_defaults_are_those_of_openssh(home):
    said = ssh_settings.for_host(Host(name="GPU1"), SshOptions(), SshConfig("/dev/null"))
    assert (said.host, said.port, said.user) == ("gpu1", 22, USER)
    assert said.identity_files == tuple(f"{home}/.ssh/id_{kind}" for kind in ("ed25519", "ecdsa", "rsa"))
    assert said.user_known_hosts == (f"{home}/.ssh/known_hosts", f"{home}/.ssh/known_hosts2")


def test_the_users_own_file_is_read_without_being_named(home):
    (home / ".ssh" / "config").write_text("Host gpu1\n User ops\n")
    assert ssh_settings.for_host(Host(name="gpu1"), SshOptions(), SshConfig(None)).user == "ops"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Host a\n  User\n", r"config:2: 'User': expected a keyword and its value"),
        ('User "ops\n', r"config:1: '\"ops': a quote is not closed"),
        ("User #ops\n", r"config:1: User: no value"),
        ("Include config\n", r"Include goes round in circles"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(text, message, write):
    with pytest.raises(DiagError, match=message):
        SshConfig(write(text))


def test_a_file_that_is_not_there_is_an_error_when_it_was_named():
    with pytest.raises(DiagError, match="/no/such/file: ssh_config cannot be read: No such file"):
        SshConfig("/no/such/file")


@pytest.mark.parametrize("line", ["Port many", "Port 0", "ConnectTimeout soon", "ProxyJump a:port"])
def test_a_value_that_cannot_be_is_said(line, write):
    with pytest.raises(ValueError, match="ssh_config: "):
        settings(line + "\n", write)
