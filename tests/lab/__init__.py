"""A cluster of real hosts on one machine: what each test of the whole product runs against.

A host is a network namespace with its own address behind a switch, its own host name, process table, ``/proc``,
``/sys``, ``/tmp``, ``/var/tmp``, ``/run``, ``/root``, ``/dev/shm``, ``/dev/pts``, ``/etc/hosts``, machine id and sshd
with its own host key; tini is its PID 1. Its root is an overlay of this machine's: everything installed here is there
(the project's ``.venv`` with torch too), everything written there goes away with it. Hosts reach each other and this
machine (10.77.x.254), nothing beyond. Needs root and the packages of ``packages.txt``.

By hand, from the project's root::

    python -m tests.lab up 4 --rate 1gbit --fault 1=hosts127,shm64m  # prints the lines for ssh and diag
    python -m tests.lab exec 1 df -h /dev/shm
    python -m tests.lab net 2 blackhole  # heal, drop:P, reject:P, rate:R, mtu:N, loss:PCT, bigdrop:N
    python -m tests.lab freeze 3 sshd    # thaw, kill: processes by a part of their command
    python -m tests.lab down             # all that were made by hand; down 3: that one

In tests, marked ``lab`` (fixtures of ``tests/conftest.py``)::

    def test_…(lab4, leaves_nothing):   # four healthy hosts for all tests; healed after each
        lab4.hosts[2].blackhole()       # freeze_sshd(), freeze(part), kill(part), reject_port(p), set_rate(r), …
        with leaves_nothing(lab4):      # files, listeners, processes of all hosts, 5 s grace
            … lab4.ssh_config, lab4.names, lab4.python, lab4.run_line

    def test_…(make_lab):               # faults of birth: faults.FAULTS; folders of this machine as shares
        lab = make_lab(2, names=("gpu01", "gpu02"), faults={1: ("othertorch",)}, shares={"/models/tiny": folder})

    def test_…(docker_container):       # also marked docker: .wrapper, .host, .lab, .docker_host

What it is not: the kernel, the CPUs and the clock are one for all hosts (``skew`` changes what programs are told, not
the time), limits cannot be raised above this machine's own hard limits, there is no latency (no netem is assumed)
and no RDMA. Commands of ``Host.run`` have this machine's ulimits; who logs in by SSH has the host's.

``cluster`` makes labs, ``registry`` knows them and removes what a crash left, ``blueprint`` has addresses and names,
``boot`` turns a plan into hosts, ``network`` wires them, ``host`` is what a test does to one and sees of it.
"""
