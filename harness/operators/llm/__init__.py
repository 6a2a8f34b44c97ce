"""Language models behind the operators: simulated, local, or an OpenAI-compatible endpoint."""
