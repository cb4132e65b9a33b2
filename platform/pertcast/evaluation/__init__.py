"""What a result must show to be believed: metrics, baselines beside the model, intervals, a verdict.

Truth comes in through `from_store`, `other_tools` or `external` as one table of held-out conditions;
`scores` and `cells` judge predictions with `metrics`, `ceilings` and `uncertainty` say what could be reached
and trusted, `trust` brings it together. `pertcast_jobs.evaluate` fills all of it from a run.
"""
