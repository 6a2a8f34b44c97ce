"""Prompts: the chat format (tokens) and the instruction texts (words)."""
