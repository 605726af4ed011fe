"""Snapshot + model + engine rules -> Plan, in bytes per GPU; what is not understood is refused, not guessed."""
