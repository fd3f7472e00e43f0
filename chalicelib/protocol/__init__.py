"""Bytes and values: no I/O, clock, environment or randomness except as arguments."""
