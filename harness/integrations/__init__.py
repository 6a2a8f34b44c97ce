"""GSsPO for other trainers: TRL and verl. Nothing else in the harness imports this package."""
