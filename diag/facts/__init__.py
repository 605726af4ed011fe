"""What we know: frozen typed records, no I/O but the Snapshot's own file."""
