"""Running a sweep: what is on disk, what is left to do, running it in Ray, showing it, reporting on it."""
