"""The delivery service: orders and checks the handshakes of groups, and fans messages out."""
