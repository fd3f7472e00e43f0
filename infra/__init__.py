"""What runs the project rather than being it: deployment, operation, the local federation, benchmarks."""
