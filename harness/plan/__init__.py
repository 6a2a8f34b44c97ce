"""What a trial asks of memory, known before it starts: `shapes`, `memory` (the arithmetic), `gpus`, `show`."""
