"""The embedded base, its tasks and its ready-made library."""
