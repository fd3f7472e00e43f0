"""Use cases: each tells one story over ports it owns; no AWS and no HTTP."""
