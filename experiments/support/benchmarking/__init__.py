"""The rows of `experiments/benchmark.py`: what is measured, and the plain reference that it is measured beside."""
