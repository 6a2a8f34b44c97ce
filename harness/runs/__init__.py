"""A trial's folder: journal, episodes, checkpoints and results on disk."""
