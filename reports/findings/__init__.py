"""FINDINGS.md: what the studies say of each claim and limitation, made from committed results alone (`make findings`).

`claims.yaml` holds questions, designs and what would change an answer; every number and verdict is computed.
"""
