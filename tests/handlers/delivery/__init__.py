"""The doors of a delivery service, and what its operator does."""
