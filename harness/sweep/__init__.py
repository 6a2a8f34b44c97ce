"""Running a sweep: trials in Ray, their status, progress display, MLflow writer and report."""
