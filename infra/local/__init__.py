"""The whole federation on one machine: emulated AWS, real mutual TLS, real processes, real queues."""
