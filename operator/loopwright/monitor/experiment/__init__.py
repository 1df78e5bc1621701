"""The statistics of A/B experiments: from sums per variant to a verdict.

Pure, and of the standard library only. A monitor collects with `samples.record` and asks
`judging.judge`; the rest says how: docs/concepts/experiments.md.
"""
