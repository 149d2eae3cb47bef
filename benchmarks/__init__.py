"""Side-by-side measurements of Hookline and of simpler programs: `python -m benchmarks` prints their ratios."""
