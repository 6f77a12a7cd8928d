"""Jobs of a Slurm cluster: what is asked for, the batch script, submission by submitit, the queue.

Knows nothing of what the jobs do: sweeps and `launch` say it.
"""
