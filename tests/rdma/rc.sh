#!/bin/bash
# What a guest does between its kernel and its sshd; busybox's init starts it.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# Sizes of a real machine: what is free costs nothing.
mount -t tmpfs -o mode=1777,size=16g shm /dev/shm
mount -o remount,size=64g /
chmod 1777 /tmp /var/tmp

modprobe -a virtio_pci virtio_net virtio_rng qemu_fw_cfg
told=/sys/firmware/qemu_fw_cfg/by_name/opt/diag
number=$(cat $told/number/raw)
hostname "node$number"
printf '127.0.0.1 localhost\n192.168.77.1 node1\n192.168.77.2 node2\n' > /etc/hosts
echo "$number" | md5sum | cut -c1-32 > /etc/machine-id
cat $told/host_key/raw > /etc/ssh/ssh_host_ed25519_key
for home in /root /home/user; do
    mkdir -p "$home/.ssh"
    cat $told/authorized_key/raw > "$home/.ssh/authorized_keys"
done
chown -R 1000:1000 /home/user
chmod 600 /etc/ssh/ssh_host_ed25519_key
mkdir -p /run/sshd /run/lock

# eth0: this machine's way in. eth1: the link between the two, which carries RDMA.
sysctl -qw net.ipv6.conf.all.keep_addr_on_down=1 net.ipv6.conf.default.keep_addr_on_down=1
ip link set lo up
ip addr add "10.0.$number.15/24" dev eth0
ip link set eth0 up
ip addr add "192.168.77.$number/24" dev eth1
ip addr add "fd77::$number/64" dev eth1 nodad
ip link set eth1 up
modprobe -a ib_uverbs rdma_ucm ib_umad rdma_rxe nf_tables
rdma link add rxe0 type rxe netdev eth1
chmod 666 /dev/infiniband/uverbs* /dev/infiniband/rdma_cm
