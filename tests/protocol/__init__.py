"""The pure protocols, file by file."""
