"""Decodes image files. Runs in worker processes only: nothing here may be imported by the process that serves."""
