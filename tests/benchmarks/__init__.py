"""What is timed. Run as `python -m tests.benchmarks.NAME`."""
