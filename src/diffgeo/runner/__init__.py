"""Runs: one run, the files of its studies, jobs of a sweep, dry runs, tracking. Importing this is cheap."""
