"""The GLADOS protocol as values and rules (draft-ietf-mimi-glados), file by file."""
