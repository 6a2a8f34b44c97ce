"""Static GPU and host memory estimate of a trial, by component.

`shapes` of models, `memory` (the arithmetic), `vllm` (its share of a GPU), `gpus`, `show` (the printed plan).
"""
