"""Folders of trials and sweeps on disk: `TrialRun`, `SweepFolder`, journal, episodes, checkpoints."""
