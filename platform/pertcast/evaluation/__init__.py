"""What a result must show to be believed: metrics, baselines beside the model, intervals, a verdict.

Works on plain arrays and tables; `pertcast_jobs.evaluate` fills them from a run.
"""
