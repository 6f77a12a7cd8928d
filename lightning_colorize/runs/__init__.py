"""The run: its folder and files, its name, how it resumes, and how runs are listed."""
