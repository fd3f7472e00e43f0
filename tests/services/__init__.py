"""The use cases, on ports in memory."""
