"""The ports in memory, stricter than production: they judge their callers and fail on request."""
