"""A GP's use cases: what they promise, and what is left when they die half way."""
