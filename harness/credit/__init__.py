"""The credit laboratory: what each turn of an episode was worth, measured by forks of the episode's states."""
