"""Two machines with RDMA on one that has none: what the RDMA probes, the pair tests and their faults run against.

A guest is an emulated machine (QEMU without KVM) with a Debian kernel, the soft-RoCE driver, the usual tools
(rdma-core, perftest, infiniband-diags), sshd and a plain Python; no torch, no pip. ``eth0`` is the way in from this
machine: a port of its own on 127.0.0.1. ``eth1`` (192.168.77.1 and .2) is the link between the two, with ``rxe0`` on
it. Needs root, an amd64 Debian and the packages of ``packages.txt``; the image is made in 10 s and kept under
``/var/tmp``, a boot takes about as long.

By hand, from the project's root::

    python -m tests.rdma up         # prints the lines for ssh and diag
    python -m tests.rdma ssh 1 ibv_devinfo
    python -m tests.rdma fault 2 link_down   # heal; the others are in faults.FAULTS
    python -m tests.rdma down

In tests, marked ``rdma``::

    def test_…(guests, leaves_nothing):        # healed after each test
        faults.plant(guests.both[1], "link_down")
        with leaves_nothing():                 # files, listeners, processes of both
            … guests.ssh_config, guests.names

What it is not: a processor as fast as a real one (RDMA writes go at some 30 MB/s, a packet takes half a millisecond:
presence and order can be asserted, figures not), a PCI device (no firmware, board or NUMA node), InfiniBand, RoCE v1,
PFC, a rate other than 2.5 Gbit/s.

``image`` makes what is booted, ``rc.sh`` is the start of a guest, ``boot`` starts and ends them, ``guests`` acts on
them and sees what is on them, ``faults`` breaks them, ``needs`` says what this machine lacks.
"""
