"""Workflow-RL ablation harness: GSsPO, GRPO and GSPO on multi-turn workflows, measured."""
