from hypothesis import settings

settings.register_profile("objectives", deadline=None)  # the first torch call of a process takes a second
settings.load_profile("objectives")
