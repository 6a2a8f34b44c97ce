"""GSsPO as a plug-in for other trainers, TRL and verl. No other room imports this one."""
