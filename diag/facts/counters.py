"""What does it mean when a counter of a NIC or HCA rises? One literal table: errors, broken paths, signs of congestion.

Names are the drivers' (sysfs of InfiniBand, ``ethtool -S``). What counts traffic is not here. Sources: Mellanox OFED
"Understanding mlx5 Linux counters", Linux' ABI ``sysfs-class-infiniband``, and the drivers' own tables of names.
"""

from __future__ import annotations

import re

import msgspec

ERROR, PATH, CONGESTION = "error", "path", "congestion"
"""Of the port's own cable or hardware; of a path whose other end may be at fault, so that it accuses nobody; and the
price of traffic that is too much for somebody."""


class Counter(msgspec.Struct, frozen=True):
    """``too_much``: pauses and discards, by which a fabric says that it cannot take what is sent."""

    kind: str
    meaning: str
    too_much: bool = False


def _rows(kind: str, rows: dict[str, str], *, too_much: bool = False) -> dict[str, Counter]:
    return {name: Counter(kind, meaning, too_much) for name, meaning in rows.items()}


COUNTERS = {
    **_rows(ERROR, {
        "symbol_error": "bits on the cable that could not be read",
        "link_downed": "times that the link went down",
        "link_error_recovery": "times that the link had to train again",
        "link_down_events_phy": "times that the link went down",
        "port_rcv_errors": "packets that came damaged",
        "port_rcv_remote_physical_errors": "packets that a switch had already marked as damaged",
        "port_rcv_switch_relay_errors": "packets that could not be forwarded",
        "local_link_integrity_errors": "times that errors on the cable were too many",
        "excessive_buffer_overrun_errors": "times that buffers ran over for long",
        "VL15_dropped": "management packets dropped",
        "rx_icrc_encapsulated": "RoCE packets with a wrong checksum",
        "rx_crc_errors": "frames with a wrong checksum",
        "rx_crc_errors_phy": "frames with a wrong checksum",
        "rx_fcs_err_frames": "frames with a wrong checksum",
        "rx_symbol_err_phy": "bits on the cable that could not be read",
        "rx_pcs_symbol_err_phy": "bits on the cable that could not be read",
        "rx_errors": "frames that came damaged",
        "tx_errors": "frames that could not be sent",
    }),
    **_rows(PATH, {
        "rnr_nak_retry_err": "connections given up: the receiver was never ready",
        "local_ack_timeout_err": "packets whose acknowledgement never came",
        "req_transport_retries_exceeded": "connections given up: no acknowledgement after all retries",
        "retry_exceeded_err": "connections given up: no acknowledgement after all retries",
        "retry_rnr_exceeded_err": "connections given up: the receiver was never ready",
        "resp_local_length_error": "messages of another length than was expected",
        "req_remote_access_errors": "accesses that the other side refused",
        "resp_remote_access_errors": "accesses that were refused to the other side",
        "retrans_timeout_events": "times that EFA waited in vain",
        "unresponsive_remote_events": "times that EFA's other side fell silent",
    }),
    **_rows(CONGESTION, {
        "port_xmit_constraint_errors": "packets not sent for the partition's or switch's rules",
        "out_of_sequence": "packets that came after a gap",
        "out_of_seq_request": "packets that came after a gap",
        "packet_seq_err": "gaps that the other side complained of",
        "rcvd_seq_err": "gaps that the other side complained of",
        "implied_nak_seq_err": "gaps that answers revealed",
        "duplicate_request": "packets that came twice: the sender had not heard the answer",
        "out_of_buffer": "packets dropped: no buffer was posted for them",
        "rx_out_of_buffer": "packets dropped: no buffer was posted for them",
        "rcvd_rnr_err": "times that the receiver was not ready",
        "send_rnr_err": "times that this side was not ready",
        "completer_retry_err": "packets sent again",
        "retrans_pkts": "packets sent again",
        "roce_adp_retrans": "packets sent again",
        "roce_adp_retrans_to": "timeouts after which packets were sent again",
        "roce_slow_restart": "times that RoCE began slowly again",
        "roce_slow_restart_cnps": "congestion notifications of a slow restart",
        "np_cnp_sent": "congestion notifications sent",
        "np_ecn_marked_roce_packets": "RoCE packets that a switch had marked for congestion",
        "rp_cnp_handled": "congestion notifications obeyed",
        "rp_cnp_ignored": "congestion notifications not obeyed",
        "tx_cnp_pkts": "congestion notifications sent",
        "rx_cnp_pkts": "congestion notifications obeyed",
        "rx_ecn_marked_pkts": "RoCE packets that a switch had marked for congestion",
        "cnpSent": "congestion notifications sent",
        "cnpHandled": "congestion notifications obeyed",
        "cnpIgnored": "congestion notifications not obeyed",
        "RxECNMrkd": "RoCE packets that a switch had marked for congestion",
        "rx_drops": "packets dropped on arrival",
        "rx_missed_errors": "frames dropped: the host was too slow",
        "tx_dropped": "frames dropped before they were sent",
        "outbound_pci_stalled_wr": "times that PCIe could not keep up",
    }),
    **_rows(CONGESTION, too_much=True, rows={
        "port_xmit_discards": "packets dropped before they were sent",
        "rx_discards_phy": "frames dropped: the NIC's buffer was full",
        "tx_discards_phy": "frames dropped before they were sent",
        "rx_total_discard_pkts": "frames dropped: the NIC's buffer was full",
        "tx_total_discard_pkts": "frames dropped before they were sent",
        "rx_dropped.nic": "frames dropped: the NIC's buffer was full",
        "rx_pause_ctrl_phy": "pauses that the switch asked for",
        "tx_pause_ctrl_phy": "pauses asked of the switch",
        "rx_pause": "pauses that the switch asked for",
        "tx_pause": "pauses asked of the switch",
        "rx_pause_frames": "pauses that the switch asked for",
        "tx_pause_frames": "pauses asked of the switch",
        "rx_global_pause": "pauses that the switch asked for",
        "tx_global_pause": "pauses asked of the switch",
        "rx_pfc_frames": "pauses that the switch asked for",
        "tx_pfc_frames": "pauses asked of the switch",
        "link_xoff_rx.nic": "pauses that the switch asked for",
        "link_xoff_tx.nic": "pauses asked of the switch",
        "tx_pause_storm_warning_events": "times that pauses lasted long",
        "tx_pause_storm_error_events": "times that pauses lasted so long that the NIC gave up",
    }),
}  # fmt: skip

OF_A_PRIORITY = {
    re.compile(r"rx_(prio\d+_pause|pfc_ena_frames_pri\d+|priority_\d+_x(on|off)(\.nic)?)"): COUNTERS["rx_pause"],
    re.compile(r"tx_(prio\d+_pause|pfc_ena_frames_pri\d+|priority_\d+_x(on|off)(\.nic)?)"): COUNTERS["tx_pause"],
    re.compile(r"(rx_prio\d+_(buf_discard|cong_discard|discards)|rx_discard_(bytes|packets)_cos\d+)"): (
        COUNTERS["rx_discards_phy"]
    ),
}
"""Those that are counted for each of eight priorities."""
BYTES_OF_NIC = {"rx_bytes": 1, "tx_bytes": 1}
BYTES_OF_HCA = {
    "port_xmit_data": 4, "port_rcv_data": 4, "rx_bytes": 1, "tx_bytes": 1, "ip4InOctets": 1, "ip4OutOctets": 1,
    "ip6InOctets": 1, "ip6OutOctets": 1,
}  # fmt: skip
"""What counts traffic -> bytes of each count. InfiniBand counts words of four bytes (IBTA volume 1, 16.1.3.5), mlx5 on
Ethernet too; ``bnxt_re`` and ``efa`` count bytes, ``irdma`` those of IP packets."""
BYTES = BYTES_OF_NIC.keys() | BYTES_OF_HCA.keys()


def meaning_of(name: str) -> Counter | None:
    """None: it counts no error and no congestion, or nobody here knows it."""
    known = COUNTERS.get(name)
    if known is not None:
        return known
    return next((each for pattern, each in OF_A_PRIORITY.items() if pattern.fullmatch(name)), None)
