"""Pure statistics: arrays in, frozen results out; no files, no frames, no global random state.

The unit of inference for a claim about an *algorithm* is the seed. Question-level tests support a claim about two
*checkpoints* only and carry that label in `Test.claim`.
"""
