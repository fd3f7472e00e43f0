"""`python -m infra.bench NAME`: benchmarks whose bars are ratios and counts, because shared machines drift."""
