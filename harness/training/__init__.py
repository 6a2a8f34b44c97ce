"""The algorithm: train, update, evaluate, and the parts they are built from."""
