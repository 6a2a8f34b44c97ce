"""FINDINGS.md: evidence of the studies on each claim and limitation, from committed results alone (`make findings`).

`claims.yaml` holds questions, designs and the evidence that would change an answer; numbers and verdicts are computed.
"""
