"""Slurm jobs: resources, batch scripts, submission through submitit, the queue."""
