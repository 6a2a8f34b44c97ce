"""Questions and passages: the offline world, and the seven benchmarks."""
