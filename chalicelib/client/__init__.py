"""What callers import: clients of the services, and a small MLS member."""
