"""What a trial asks of memory, known before it starts: `shapes`, `memory` (the arithmetic), `engine` (vLLM's share of a
GPU), `gpus`, `show`."""
