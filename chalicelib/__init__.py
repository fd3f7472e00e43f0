"""A GLADOS provider on AWS Chalice.

Floors, imports point down only: `handlers` → `wiring` → `storage` | `config` → `services` → `protocol` → `errors`.
"""
