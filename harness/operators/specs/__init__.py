"""One operator a file, named as programs call it (snake case). `harness.operators.registry` lists them."""
