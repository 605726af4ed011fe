from __future__ import annotations

import shlex
import subprocess
import threading

import pytest

from diag.errors import NodeError
from diag.inventory import Host
from diag.remote.host_keys import HostKey, KnownHosts
from tests.remote.ssh.sshd import fingerprint, make_key


def known_hosts(home) -> str:
    path = home / ".ssh" / "known_hosts"
    return path.read_text() if path.exists() else ""


def note(home, *lines: str) -> None:
    (home / ".ssh" / "known_hosts").write_text("".join(f"{line}\n" for line in lines))


def refused(connect, config: str, **options: object) -> NodeError:
    with pytest.raises(NodeError) as caught:
        connect(config, **options)
    return caught.value


def test_a_known_key_is_believed_without_a_word(node, ssh_config, connect):
    assert connect(ssh_config(node)).advice == ()


def test_an_unknown_key_is_refused_with_its_fingerprint_and_the_way_to_accept_it(node, ssh_config, connect, home):
    error = refused(connect, ssh_config(node, known=False))
    assert error.cause == "host_key_unknown"
    assert f"ssh-ed25519 {fingerprint(node.public(0))}" in error.what
    assert f"ssh-keyscan -t ed25519 -p {node.port} 127.0.0.1 >> '{home}/.ssh/known_hosts'" in error.do
    assert "--accept-new-host-keys" in error.do


def test_the_way_to_accept_it_works(node, ssh_config, connect):
    error = refused(connect, config := ssh_config(node, known=False))
    command = error.do.partition("check it, then ")[2].partition(", or accept")[0]
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    assert connect(config).advice == ()


def test_a_changed_key_is_refused_with_both_fingerprints_and_the_line(node, ssh_config, connect, home, tmp_path):
    other = make_key(tmp_path / "other").with_suffix(".pub")
    note(home, "# mine", f"{node.name} {other.read_text()}")
    error = refused(connect, ssh_config(node, known=False), accept_new_host_keys=True)
    assert error.cause == "host_key_changed"
    assert f"found ssh-ed25519 {fingerprint(node.public(0))}" in error.what
    assert f"expected {fingerprint(other)} ({home}/.ssh/known_hosts:2)" in error.what
    assert f"ssh-keygen -f '{home}/.ssh/known_hosts' -R '{node.name}'" in error.do


def test_the_way_to_forget_a_changed_key_works(node, ssh_config, connect, home, tmp_path):
    note(home, f"{node.name} {make_key(tmp_path / 'other').with_suffix('.pub').read_text()}")
    error = refused(connect, config := ssh_config(node, known=False))
    subprocess.run(["sh", "-c", error.do.partition("reinstalled: ")[2]], check=True, capture_output=True)
    assert refused(connect, config).cause == "host_key_unknown"


def test_nothing_is_sent_to_a_host_that_is_not_believed(make_node, ssh_config, connect):
    node = make_node()
    refused(connect, ssh_config(node, known=False))
    assert "publickey" not in node.log()


def test_that_unchecked_keys_are_not_obeyed_is_said_where_it_matters(node, ssh_config, connect):
    error = refused(connect, ssh_config(node, "StrictHostKeyChecking no", known=False))
    assert error.cause == "host_key_unknown"
    assert "StrictHostKeyChecking no is not obeyed" in error.what


def test_new_keys_are_added_where_that_is_asked_for(node, ssh_config, connect, home):
    (home / ".ssh").rmdir()
    config = ssh_config(node, known=False)
    channel = connect(config, accept_new_host_keys=True)
    assert "added" in channel.advice[0]
    assert fingerprint(node.public(0)) in channel.advice[0]
    assert known_hosts(home) == f"{node.name} {node.host_key}\n"
    assert (home / ".ssh" / "known_hosts").stat().st_mode & 0o777 == 0o600
    assert (home / ".ssh").stat().st_mode & 0o777 == 0o700
    assert connect(config).advice == ()


def test_new_keys_are_added_where_ssh_config_says_so(node, ssh_config, connect, home):
    connect(ssh_config(node, "StrictHostKeyChecking accept-new", known=False))
    assert known_hosts(home)


def test_a_key_is_added_to_the_first_file_behind_an_unfinished_line(node, ssh_config, connect, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("# no newline")
    connect(ssh_config(node, f"UserKnownHostsFile {first} {second}", known=False), accept_new_host_keys=True)
    assert first.read_text() == f"# no newline\n{node.name} {node.host_key}\n"
    assert not second.exists()


def test_hashed_names_are_read_as_openssh_writes_them(node, ssh_config, connect, home):
    config = ssh_config(node)
    subprocess.run(["ssh-keygen", "-H", "-f", home / ".ssh" / "known_hosts"], check=True, capture_output=True)
    assert node.name not in known_hosts(home)
    assert connect(config).advice == ()


def test_hashed_names_are_written_so_that_openssh_finds_them(node, ssh_config, connect, home):
    connect(ssh_config(node, "HashKnownHosts yes", known=False), accept_new_host_keys=True)
    assert node.name not in known_hosts(home)
    found = subprocess.run(
        ["ssh-keygen", "-F", node.name, "-f", home / ".ssh" / "known_hosts"], check=True, capture_output=True, text=True
    )
    assert node.host_key in found.stdout


def test_the_key_of_the_name_without_its_port_is_believed_too(node, ssh_config, connect, home):
    note(home, f"127.0.0.1 {node.host_key}")
    assert connect(ssh_config(node, known=False)).advice == ()


@pytest.mark.parametrize("names", ["a,[127.0.0.?]:*,b", "[127.0.0.1]:{port},x", "*"])
def test_patterns_and_lists_of_names_are_understood(names, node, ssh_config, connect, home):
    note(home, f"{names.format(port=node.port)} {node.host_key} a comment")
    assert connect(ssh_config(node, known=False)).advice == ()


def test_a_negated_name_is_not_meant(node, ssh_config, connect, home):
    note(home, f"*,!{node.name},!127.0.0.1 {node.host_key}")
    assert refused(connect, ssh_config(node, known=False)).cause == "host_key_unknown"


def test_an_alias_is_looked_up_instead_of_the_name(node, ssh_config, connect, home):
    note(home, f"cluster {node.host_key}")
    config = ssh_config(node, "HostKeyAlias cluster", known=False)
    assert connect(config).advice == ()
    note(home)
    assert f"ssh -F {shlex.quote(config)} node true" in refused(connect, config).do


def test_the_global_file_counts(node, ssh_config, connect, tmp_path):
    (tmp_path / "global").write_text(f"{node.name} {node.host_key}\n")
    assert connect(ssh_config(node, f"GlobalKnownHostsFile {tmp_path}/global", known=False)).advice == ()


def test_a_revoked_key_is_refused_even_if_it_is_known_too(node, ssh_config, connect, home):
    note(home, f"{node.name} {node.host_key}", f"@revoked * {node.host_key}")
    error = refused(connect, ssh_config(node, known=False), accept_new_host_keys=True)
    assert error.cause == "host_key_changed"
    assert "known_hosts:2 marks as @revoked" in error.what


def test_a_certificate_authority_is_not_taken_for_a_key(node, ssh_config, connect, home):
    note(home, f"@cert-authority * {node.host_key}")
    error = refused(connect, ssh_config(node, known=False))
    assert error.cause == "host_key_unknown"
    assert "host certificates are not supported" in error.what


def test_a_host_with_several_keys_shows_the_one_that_is_known(make_node, ssh_config, connect, home):
    node = make_node(kinds=("ed25519", "ecdsa"))
    note(home, f"{node.name} {node.public(1).read_text()}")
    assert connect(ssh_config(node, known=False)).advice == ()


def test_a_known_rsa_key_is_asked_for_by_its_signature(make_node, ssh_config, connect, home):
    node = make_node(kinds=("ed25519", "rsa"))
    note(home, f"{node.name} {node.public(1).read_text()}")
    assert connect(ssh_config(node, known=False)).advice == ()


def test_a_key_of_another_type_than_the_known_one_is_unknown_and_says_which_is_known(
    node, ssh_config, connect, home, tmp_path
):
    other = make_key(tmp_path / "other", kind="ecdsa").with_suffix(".pub")
    note(home, f"{node.name} {other.read_text()}")
    error = refused(connect, ssh_config(node, known=False))
    assert error.cause == "host_key_unknown"
    assert f"known_hosts:1 has another type, ecdsa-sha2-nistp256 {fingerprint(other)}" in error.what


def test_the_file_that_nobody_may_read_is_named(node, ssh_config, connect, tmp_path):
    (tmp_path / "folder").mkdir()
    error = refused(connect, ssh_config(node, f"UserKnownHostsFile {tmp_path}/folder", known=False))
    assert f"{tmp_path}/folder: known_hosts cannot be read" in error.what


def test_a_key_that_cannot_be_written_down_is_still_believed_when_new_ones_are(node, ssh_config, connect):
    channel = connect(ssh_config(node, "UserKnownHostsFile /proc/known_hosts", known=False), accept_new_host_keys=True)
    assert "cannot be added" in channel.advice[0]


def test_many_threads_write_whole_lines_each_once(tmp_path):
    path, book = str(tmp_path / "known_hosts"), KnownHosts()
    key = HostKey("ssh-ed25519", b"\0" * 51)
    threads = [
        threading.Thread(target=book.add, args=(path, f"gpu{number % 8}", key), kwargs={"hashed": False})
        for number in range(32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "known_hosts").read_text().splitlines()
    assert sorted(line.split()[0] for line in lines) == [f"gpu{number}" for number in range(8)]
    assert book.entries([path], "gpu3")[0].where == f"{path}:{[line.split()[0] for line in lines].index('gpu3') + 1}"


def test_the_address_of_the_inventory_is_what_is_looked_up(node, ssh_config, connect):
    host = Host(name="gpu07", address="127.0.0.1", port=node.port)
    assert connect(ssh_config(node), host=host).advice == ()
