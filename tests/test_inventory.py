"""Is every way to select hosts read as meant, and every slip answered with one clear line?"""

from __future__ import annotations

import re

import pytest

from diag.errors import DiagError
from diag.inventory import Host, commandline, expand, fold, hostfile, toml


def names(hosts: list[Host]) -> list[str]:
    return [host.name for host in hosts]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a file and returns its short relative path, as a user would type it."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str | bytes):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path.relative_to(tmp_path)

    return write


# ---- node sets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu[01-03],10.0.0.9", ["gpu01", "gpu02", "gpu03", "10.0.0.9"]),
        ("gpu[1-9/4]", ["gpu1", "gpu5", "gpu9"]),
        ("r[1-2]-n[3-4]", ["r1-n3", "r1-n4", "r2-n3", "r2-n4"]),
        ("b, a", ["b", "a"]),
        ("gpu[01,1]", ["gpu1", "gpu01"]),
        ("10.0.0.[1-2]", ["10.0.0.1", "10.0.0.2"]),
        ("2001:db8::[1-2]", ["2001:db8::1", "2001:db8::2"]),
        ("fe80::1%eth0", ["fe80::1%eth0"]),
        ("gpu-01.rack-7.example", ["gpu-01.rack-7.example"]),
    ],
)
def test_a_node_set_names_its_hosts_in_the_order_written(text, expected):
    assert expand(text, "--hosts") == expected
    assert names(commandline.from_text(text)) == expected


SLIPS = {
    "": "'': no host named; expected e.g. gpu[01-04]",
    "  ": "'  ': no host named; expected e.g. gpu[01-04]",
    "a,,b": "'a,,b': a comma with no host beside it; expected e.g. gpu[01-04]",
    "a,": "'a,': a comma with no host beside it; expected e.g. gpu[01-04]",
    "a b": "'a b': a blank inside; separate hosts with commas",
    "gpu[1-": "'gpu[1-': unclosed range; expected e.g. gpu[01-04]",
    "gpu]": "'gpu]': brackets do not pair; expected e.g. gpu[01-04]",
    "gp[[1-2]]": "'gp[[1-2]]': brackets do not pair; expected e.g. gpu[01-04]",
    "gpu[]": "'gpu[]': empty range; expected e.g. gpu[01-04]",
    "gpu[1,]": "'gpu[1,]': empty range; expected e.g. gpu[01-04]",
    "gpu[4-1]": "'gpu[4-1]': range 4-1 runs backwards; expected [1-4]",
    "gpu[a-b]": "'gpu[a-b]': 'a-b' is no range of numbers; expected e.g. gpu[01-04]",
    "gpu[1-4/0]": "'gpu[1-4/0]': a step of 0 in 1-4/0; expected e.g. gpu[01-04]",
    "gpu[001-1000]": "'gpu[001-1000]': 001 and 1000 are not of the same width; expected [0001-1000]",
    "gpu[1-2][3-4]": "'gpu[1-2][3-4]': one range directly after another; expected e.g. gpu[1-2]-[1-4]",
    "gpu[1-99999999]": "'gpu[1-99999999]': 99,999,999 hosts; expected at most 100,000",
    "gpu[1-3,2]": "'gpu[1-3,2]': 2 is in it twice; name each host once",
    "@all": "'@all': groups of this machine are not used; expected e.g. gpu[01-04]",
    "a!b": "'a!b': '!' cannot be there in a host's name; expected e.g. gpu[01-04]",
    "a&b": "'a&b': '&' cannot be there in a host's name; expected e.g. gpu[01-04]",
    "gpu%s": "'gpu%s': '%' cannot be there in a host's name; expected e.g. gpu[01-04]",
    "-oProxyCommand=x": "'-oProxyCommand=x': '-' cannot be there in a host's name; expected e.g. gpu[01-04]",
}


@pytest.mark.parametrize("text", SLIPS)
def test_a_slip_in_a_node_set_is_one_line_that_says_what_was_expected(text):
    for read in (lambda: expand(text, "--hosts"), lambda: commandline.from_text(text)):
        with pytest.raises(DiagError) as error:
            read()
        assert str(error.value) == f"--hosts: {SLIPS[text]}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("gpu[1-2],gpu2", "'gpu2' is selected twice"),
        ("a,b,a", "'a' is selected twice"),
        ("a@h,b@h", "'h' is selected twice"),
        ("1:2:3", "'1:2:3': no IPv6 address; expected e.g. 2001:db8::1 or gpu01:22"),
        ("gpu01:0", "'gpu01:0': '0' is no port; expected 1 to 65535"),
        ("gpu01:ssh", "'gpu01:ssh': 'ssh' is no port; expected 1 to 65535"),
        ("[::1]:99999", "'[::1]:99999': '99999' is no port; expected 1 to 65535"),
        ("[::1]:", "'[::1]:': '' is no port; expected 1 to 65535"),
        ("-l@gpu01", "'-l@gpu01': '-l' is no user name; expected e.g. ops@gpu[01-04]"),
        ("ops@", "'ops@': no host after @; expected e.g. ops@gpu[01-04]"),
    ],
)
def test_a_slip_in_an_entry_is_one_line(text, line):
    with pytest.raises(DiagError) as error:
        commandline.from_text(text)
    assert str(error.value).startswith(f"--hosts: {line}")
    assert "\n" not in str(error.value)


def test_user_and_port_may_be_written_beside_the_host():
    first, second = commandline.from_text("ops@gpu[01-02]:2222")
    assert (first.name, first.user, first.port) == ("gpu01", "ops", 2222)
    assert (second.name, second.user, second.port) == ("gpu02", "ops", 2222)


def test_an_ipv6_address_with_a_port_stands_in_brackets():
    [host] = commandline.from_text("[2001:db8::1]:2222")
    assert (host.name, host.port) == ("2001:db8::1", 2222)
    [host] = commandline.from_text("[2001:db8::1]")
    assert (host.name, host.port) == ("2001:db8::1", None)


def test_forwarded_ports_of_one_host_are_several_nodes_with_names_of_their_own():
    hosts = commandline.from_text("127.0.0.1:2201,127.0.0.1:2202,::1")
    assert names(hosts) == ["127.0.0.1:2201", "127.0.0.1:2202", "::1"]
    assert [host.address for host in hosts] == ["127.0.0.1", "127.0.0.1", None]


def test_names_fold_and_odd_ones_stay_whole():
    assert fold(["gpu03", "gpu01", "gpu02"]) == "gpu[01-03]"
    assert fold(["10.0.0.1", "10.0.0.2", "2001:db8::1", "h:22"]) == "10.0.0.[1-2],2001:db8::1,h:22"
    assert fold([]) == ""


def test_what_is_typed_now_beats_a_file_but_not_the_same_line():
    typed = commandline.override(commandline.from_text("ops@a,b"), {"user": "root", "port": 22, "python": None})
    assert [(host.user, host.port) for host in typed] == [("ops", 22), ("root", 22)]
    filed = commandline.override([Host(name="a", user="ops", where="hosts.txt:1")], {"user": "root"})
    assert filed[0].user == "root"


def test_without_a_selection_this_machine_is_the_only_node():
    [host] = commandline.this_machine()
    assert host.transport == "local"
    assert host.name


# ---- host file


def test_a_host_file_is_read_as_mpi_and_deepspeed_write_it(file):
    path = file("hosts.txt", "\ufeff# head\r\ngpu01 slots=8  # first\r\n\r\ngpu[02-03] gpus=4 user=ops port=2222\n")
    hosts = hostfile.read(path)
    assert [(h.name, h.slots, h.user, h.port, h.where) for h in hosts] == [
        ("gpu01", 8, None, None, "hosts.txt:2"),
        ("gpu02", 4, "ops", 2222, "hosts.txt:4"),
        ("gpu03", 4, "ops", 2222, "hosts.txt:4"),
    ]


def test_the_blanks_and_max_slots_of_open_mpi_are_read(file):
    [host] = hostfile.read(file("hosts.txt", "node1 slots = 4 max-slots=8"))
    assert host.slots == 4


HOSTFILE_SLIPS = {
    "": "hosts.txt: no host in it; expected one host a line, e.g. gpu01 slots=8",
    "# only\n": "hosts.txt: no host in it; expected one host a line, e.g. gpu01 slots=8",
    "a\n\ngpu[1-": "hosts.txt:3: 'gpu[1-': unclosed range; expected e.g. gpu[01-04]",
    "gpu01:8": ("hosts.txt:1: 'gpu01:8': a port or a number of ranks?; write 'gpu01 slots=8' or 'gpu01 port=8'"),
    "a b": "hosts.txt:1: 'b': expected key=value; one host a line",
    "a slot=3": (
        "hosts.txt:1: unknown key 'slot'; known are slots, gpus, max_slots, address, user, port, identity_file,"
        " python, image, container, runtime, interface, leaf"
    ),
    "a slots=": "hosts.txt:1: 'slots=': no value; expected e.g. slots=8",
    "a slots=many": "hosts.txt:1: 'slots=many': no number of GPUs; expected e.g. slots=8",
    "a slots=0": "hosts.txt:1: 'slots=0': no number of GPUs; expected e.g. slots=8",
    "a slots=4 gpus=8": "hosts.txt:1: gpus=8 contradicts 4; give slots once",
    "a port=0": "hosts.txt:1: 'port=0': '0' is no port; expected 1 to 65535",
    "slots=3": "hosts.txt:1: 'slots=3': no host in front of it; expected e.g. gpu01 slots=8",
    "a\nb\na": (
        "hosts.txt:3: 'a' is selected twice (also hosts.txt:1); name each host once; several ranks are slots=N"
    ),
    "a,b address=10.0.0.1": "hosts.txt:1: one address for 2 hosts; give each host a line of its own",
}


@pytest.mark.parametrize("text", HOSTFILE_SLIPS)
def test_a_slip_in_a_host_file_is_one_line_with_file_and_line(file, text):
    with pytest.raises(DiagError) as error:
        hostfile.read(file("hosts.txt", text))
    assert str(error.value) == HOSTFILE_SLIPS[text]


def test_a_file_that_cannot_be_read_is_one_line(file, tmp_path):
    for name, content, line in (
        ("absent.txt", None, "absent.txt: no such file"),
        ("binary.txt", b"\xff\xfe\x00", "binary.txt: not a text file in UTF-8 (byte 0)"),
    ):
        path = file(name, content) if content else (tmp_path / name).relative_to(tmp_path)
        with pytest.raises(DiagError) as error:
            hostfile.read(path)
        assert str(error.value) == line
    with pytest.raises(DiagError, match="is a directory"):
        hostfile.read(tmp_path)


# ---- TOML

INVENTORY = """
[defaults]
user = "ops"
python = "/opt/venv/bin/python3"
env = { NCCL_DEBUG = "WARN", RANKS = 2 }

[groups.prefill]
hosts = ["gpu[01-02]", "gpu04"]
exec = "docker exec -i 'my vllm'"
interface = "bond0"

[hosts."gpu[02-03]"]
port = 2222
exec = ["podman", "exec", "-i", "x"]
env = { NCCL_DEBUG = "INFO" }

[hosts.10-0-0-9]
address = "10.0.0.9"
gpus = 8
identity_file = "~/.ssh/lab"
"""


def test_the_more_particular_setting_wins(file):
    hosts = {host.name: host for host in toml.read(file("c.toml", INVENTORY))}
    assert list(hosts) == ["gpu01", "gpu02", "gpu04", "gpu03", "10-0-0-9"]
    assert hosts["gpu01"].exec == ("docker", "exec", "-i", "my vllm")
    assert hosts["gpu02"].exec == ("podman", "exec", "-i", "x")
    assert (hosts["gpu02"].interface, hosts["gpu02"].port, hosts["gpu02"].user) == ("bond0", 2222, "ops")
    assert hosts["gpu03"].interface is None
    assert dict(hosts["gpu03"].env) == {"NCCL_DEBUG": "INFO", "RANKS": "2"}
    assert dict(hosts["gpu01"].env) == {"NCCL_DEBUG": "WARN", "RANKS": "2"}
    last = hosts["10-0-0-9"]
    assert (last.address, last.slots, last.python) == ("10.0.0.9", 8, "/opt/venv/bin/python3")
    assert last.identity_file is not None
    assert not last.identity_file.startswith("~")


def test_every_host_knows_the_line_that_selects_it(file):
    hosts = {host.name: host.where for host in toml.read(file("c.toml", INVENTORY))}
    assert hosts["gpu01"] == "c.toml:7"
    assert hosts["gpu03"] == "c.toml:12"


KNOWN = (
    "address, user, port, identity_file, python, exec, image, container, runtime, env, interface,"
    " leaf, slots, gpus, transport"
)
TOML_SLIPS = {
    "": 'c.toml: no host in it; expected e.g. [hosts."gpu[01-04]"]',
    "[defaults\n": "c.toml: no TOML: ",
    "[defaults]\nusr = 1": f"c.toml:2: [defaults]: unknown key 'usr' (is 'user' meant?); known are {KNOWN}",
    "[host.a]": "c.toml: unknown key 'host' (is 'hosts' meant?); known are defaults, groups, hosts",
    '[hosts."gpu[1-"]': "c.toml:1: 'gpu[1-': unclosed range; expected e.g. gpu[01-04]",
    "\n[hosts.a]\nprot = 1": f"c.toml:3: [hosts.\"a\"]: unknown key 'prot' (is 'port' meant?); known are {KNOWN}",
    "[hosts.a]\nport = 70000": "c.toml:2: [hosts.\"a\"]: 'port = 70000': '70000' is no port; expected 1 to 65535",
    "[hosts.a]\nport = true": "c.toml:2: [hosts.\"a\"]: 'port = True': 'True' is no port; expected 1 to 65535",
    "[hosts.a]\nuser = 3": 'c.toml:2: [hosts."a"]: user = 3; expected a text in quotes',
    "[hosts.a]\nexec = 'docker \"x'": 'c.toml:2: [hosts."a"]: \'docker "x\': No closing quotation',
    "[hosts.a]\nexec = 3": 'c.toml:2: [hosts."a"]: exec = 3; expected e.g.',
    "[hosts.a]\nenv = 3": 'c.toml:2: [hosts."a"]: env = 3; expected e.g.',
    "[hosts.a]\nenv = { A = [1] }": 'c.toml:2: [hosts."a"]: env A = [1]; expected a text in quotes',
    "[hosts.a]\nslots = 0": "c.toml:2: [hosts.\"a\"]: 'slots = 0': no number of GPUs",
    "[hosts.a]\nslots = 1\ngpus = 1": 'c.toml:3: [hosts."a"]: slots and gpus say the same; give one of them',
    "[hosts.a]\ntransport = 'tcp'": "c.toml:2: [hosts.\"a\"]: transport = 'tcp'; expected one of ssh, local",
    "[hosts]\na = 3": 'c.toml:2: hosts."a": 3 is no table; expected [hosts."a"]',
    "groups = 3": "c.toml:1: groups: 3 is no table; expected [groups]",
    "[groups.x]\nuser = 'a'": 'c.toml:1: [groups.x]: no hosts; expected e.g. hosts = "gpu[01-04]"',
    "[groups.x]\nhosts = 'a'\nhost = 'b'": (
        f"c.toml:3: [groups.x]: unknown key 'host' (is 'hosts' meant?); known are hosts, {KNOWN}"
    ),
    "[groups.x]\nhosts = 'a'\n[groups.y]\nhosts = ['b', 'a']": "c.toml:3: 'a' is selected twice (also c.toml:1)",
    "[hosts.a1]\n[hosts.'a[1-2]']": "c.toml:2: 'a1' is selected twice (also c.toml:1)",
    "[hosts.'a[1-2]']\naddress='1.2.3.4'": "c.toml:1: one address for 2 hosts; give each host a table of its own",
}


@pytest.mark.parametrize("text", TOML_SLIPS)
def test_a_slip_in_an_inventory_is_one_line_with_file_and_line(file, text):
    with pytest.raises(DiagError) as error:
        toml.read(file("c.toml", text))
    assert str(error.value).startswith(TOML_SLIPS[text])
    assert not re.search(r"\n", str(error.value))
