# ruff: noqa: PLR0917 - fixtures are arguments
from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

from diag.errors import NodeError
from diag.inventory import Host
from tests.remote.ssh.scripted_server import running_scripted_server
from tests.remote.ssh.sshd import USER, make_key, sign_key


def refused(connect, config: str, **options: object) -> NodeError:
    with pytest.raises(NodeError) as caught:
        connect(config, **options)
    assert caught.value.cause == "ssh_auth_failed"
    return caught.value


@pytest.fixture
def agent(monkeypatch, tmp_path, home):  # noqa: ARG001 - the agent is named after the home is made
    """An agent of our own; ``agent(path, …)`` adds keys."""
    socket = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", socket)

    def add(*paths: Path) -> None:
        while not Path(socket).exists():
            assert process.poll() is None
        subprocess.run(["ssh-add", "-q", *paths], check=True)

    yield add
    process.kill()
    process.wait()


@pytest.fixture
def bare_config(ssh_config):
    """As ``ssh_config``, without a key to log in with."""

    return functools.partial(ssh_config, with_key=False)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_key_file_of_each_kind_logs_in(kind, make_node, bare_config, connect, tmp_path):
    key = make_key(tmp_path / "mine", kind=kind)
    node = make_node(authorized=[key])
    connect(bare_config(node, f"IdentityFile {key}"))


def test_a_key_in_the_older_pem_form_logs_in(make_node, bare_config, connect, tmp_path):
    key = tmp_path / "mine"
    subprocess.run(["ssh-keygen", "-qt", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", key], check=True)
    connect(bare_config(make_node(authorized=[key]), f"IdentityFile {key}"))


def test_the_default_key_of_the_home_logs_in(node, bare_config, connect, home, key):
    shutil.copy(key, home / ".ssh" / "id_ed25519")
    connect(bare_config(node))


def test_the_key_of_the_command_line_logs_in(node, bare_config, connect, key):
    connect(bare_config(node), identity_files=(str(key),))


def test_the_key_of_the_inventory_logs_in(node, bare_config, connect, key):
    connect(bare_config(node), host=Host(name="node", identity_file=str(key)))


def test_a_key_that_the_agent_holds_logs_in(node, bare_config, connect, key, agent):
    agent(key)
    connect(bare_config(node))


def test_many_keys_of_the_agent_do_not_hide_the_named_one(make_node, bare_config, connect, tmp_path, agent, key):
    agent(*(make_key(tmp_path / f"wrong{number}") for number in range(8)))
    connect(bare_config(make_node(more="MaxAuthTries 3"), f"IdentityFile {key}"))


def test_the_agent_signs_for_a_named_public_key(node, bare_config, connect, tmp_path, agent, key):
    agent(key, make_key(tmp_path / "wrong"))
    shutil.copy(key.with_suffix(".pub"), tmp_path / "mine.pub")
    connect(bare_config(node, f"IdentityFile {tmp_path}/mine.pub", "IdentitiesOnly yes"))


def test_with_identities_only_the_other_keys_of_the_agent_are_left_out(
    node, bare_config, connect, tmp_path, agent, key
):
    agent(key)
    wrong = make_key(tmp_path / "wrong")
    error = refused(connect, bare_config(node, f"IdentityFile {wrong}", "IdentitiesOnly yes"))
    assert f"tried key {wrong};" in error.what


def test_an_agent_that_is_not_there_is_no_obstacle(node, ssh_config, connect, monkeypatch):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/no/such/agent")
    connect(ssh_config(node))


def test_what_was_tried_and_what_sshd_accepts_is_said(node, bare_config, connect, tmp_path):
    wrong = make_key(tmp_path / "wrong")
    error = refused(connect, bare_config(node, f"IdentityFile {wrong}"))
    assert error.what == f"127.0.0.1:{node.port} does not let {USER} in: tried key {wrong}; sshd accepts publickey"


def test_an_encrypted_key_says_how_to_unlock_it(node, bare_config, connect, tmp_path):
    locked = make_key(tmp_path / "locked", passphrase="secret")
    error = refused(connect, bare_config(node, f"IdentityFile {locked}"))
    assert f"{locked} is encrypted, and no agent holds it" in error.what
    assert error.do == f"eval $(ssh-agent); ssh-add {locked}"


def test_a_named_key_that_does_not_exist_is_said(node, bare_config, connect):
    assert "/no/such/key does not exist" in refused(connect, bare_config(node, "IdentityFile /no/such/key")).what


def test_a_file_that_is_no_key_is_said(node, bare_config, connect):
    assert "/etc/passwd is no private key" in refused(connect, bare_config(node, "IdentityFile /etc/passwd")).what


def test_a_named_file_that_is_no_key_is_advice_where_another_key_logs_in(node, ssh_config, connect, tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    channel = connect(ssh_config(node), identity_files=("/etc/passwd", str(empty)))
    first, second = channel.advice
    because = "is no private key: there is no line -----BEGIN … PRIVATE KEY----- in it"
    assert first == f"named key not used: /etc/passwd {because}"
    assert second == f"named key not used: {empty} {because}"
    [missing] = connect(ssh_config(node), host=Host(name="node", identity_file="/no/key")).advice
    assert missing == "named key not used: /no/key does not exist"


def test_keys_that_ssh_config_names_or_that_are_good_need_no_advice(node, ssh_config, connect, key):
    assert connect(ssh_config(node, "IdentityFile /etc/passwd")).advice == ()
    assert connect(ssh_config(node), identity_files=(str(key),)).advice == ()


def test_what_is_wrong_with_a_named_file_is_said_in_words_of_ours(node, ssh_config, connect, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    named = (str(broken), str(tmp_path), str(make_key(tmp_path / "other")) + ".pub")
    said = connect(ssh_config(node), identity_files=named).advice
    assert said[0].startswith(f"named key not used: {broken} is no private key that can be read: ")
    assert said[1] == f"named key not used: {tmp_path} cannot be read: is a directory"
    assert said[2] == f"named key not used: {named[2]} is a public key, and no agent holds its private key"


def test_a_named_file_that_is_no_key_is_said_where_nothing_logs_in(node, bare_config, connect, tmp_path):
    wrong = make_key(tmp_path / "wrong")
    error = refused(connect, bare_config(node), identity_files=("/etc/passwd", str(wrong)))
    assert f"tried key {wrong}; /etc/passwd is no private key: " in error.what


def test_a_host_that_ends_the_login_after_many_keys_is_quoted(make_node, bare_config, connect, tmp_path):
    keys = [make_key(tmp_path / f"wrong{number}") for number in range(4)]
    node = make_node(more="MaxAuthTries 2")
    error = refused(connect, bare_config(node, *(f"IdentityFile {key}" for key in keys)))
    assert "sshd ended the connection: Too many authentication failures" in error.what
    assert str(keys[0]) in error.what


class TestCertificates:
    """A user certificate, signed by an authority that sshd trusts; the key itself is not authorized."""

    @pytest.fixture
    def authority(self, tmp_path):
        return make_key(tmp_path / "authority")

    @pytest.fixture
    def node(self, make_node, authority):
        return make_node(authorized=[], more=f"TrustedUserCAKeys {authority}.pub")

    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
    def test_a_certificate_beside_the_key_logs_in(self, kind, node, authority, bare_config, connect, tmp_path):
        key = make_key(tmp_path / "mine", kind=kind)
        sign_key(authority, key.with_suffix(".pub"))
        connect(bare_config(node, f"IdentityFile {key}"))

    def test_a_named_certificate_logs_in(self, node, authority, bare_config, connect, tmp_path):
        key = make_key(tmp_path / "mine")
        sign_key(authority, key.with_suffix(".pub")).rename(tmp_path / "elsewhere")
        connect(bare_config(node, f"IdentityFile {key}", f"CertificateFile {tmp_path}/elsewhere"))

    def test_of_several_certificates_the_one_for_the_key_is_taken(
        self, node, authority, bare_config, connect, tmp_path
    ):
        key, other = make_key(tmp_path / "mine"), make_key(tmp_path / "other")
        sign_key(authority, other.with_suffix(".pub")).rename(tmp_path / "c1")
        sign_key(authority, key.with_suffix(".pub")).rename(tmp_path / "c2")
        certificates = (f"CertificateFile {tmp_path}/c1", f"CertificateFile {tmp_path}/c2")
        connect(bare_config(node, f"IdentityFile {key}", *certificates))

    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
    def test_a_certificate_in_the_agent_logs_in(self, kind, node, authority, bare_config, connect, tmp_path, agent):
        key = make_key(tmp_path / "mine", kind=kind)
        sign_key(authority, key.with_suffix(".pub"))
        agent(key)
        connect(bare_config(node))

    def test_a_certificate_file_with_the_key_in_the_agent_logs_in(
        self, node, authority, bare_config, connect, tmp_path, agent
    ):
        key = make_key(tmp_path / "mine", kind="rsa")
        certificate = sign_key(authority, key.with_suffix(".pub"))
        certificate.rename(tmp_path / "elsewhere")
        agent(key)
        connect(bare_config(node, f"CertificateFile {tmp_path}/elsewhere"))

    def test_a_key_with_a_useless_certificate_still_logs_in_by_itself(self, make_node, bare_config, connect, tmp_path):
        key = make_key(tmp_path / "mine")
        sign_key(make_key(tmp_path / "stranger"), key.with_suffix(".pub"))
        connect(bare_config(make_node("other", authorized=[key]), f"IdentityFile {key}"))


class TestPasswords:
    """sshd needs PAM for them, so paramiko plays the host."""

    @pytest.mark.parametrize(
        "methods", ["password", "keyboard-interactive", "publickey,password", "publickey,keyboard-interactive"]
    )
    def test_the_password_logs_in(self, methods, bare_config, connect):
        with running_scripted_server(methods, "sesame") as server:
            connect(bare_config(server), password=lambda: "sesame")

    def test_a_wrong_password_is_tried_once(self, bare_config, connect):
        with running_scripted_server("password,keyboard-interactive", "sesame") as server:
            error = refused(connect, bare_config(server), password=lambda: "wrong")
            assert server.passwords == ["wrong"]
        assert "tried password; sshd accepts password, keyboard-interactive" in error.what

    def test_without_a_password_the_way_to_give_one_is_said(self, bare_config, connect):
        with running_scripted_server("publickey,password", "sesame") as server:
            assert "--ask-pass" in refused(connect, bare_config(server)).do

    def test_a_key_and_a_password_log_in_where_both_are_asked_for(self, ssh_config, connect, key):
        with running_scripted_server("publickey", "sesame", then="password", key=key) as server:
            connect(ssh_config(server), password=lambda: "sesame")
            assert server.passwords == ["sesame"]

    def test_the_password_is_not_asked_for_where_a_key_is_enough(self, node, ssh_config, connect):
        connect(ssh_config(node), password=lambda: pytest.fail("asked"))
