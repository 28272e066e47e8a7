"""Whole runs of the message layer under simulated time, chance, transport and crashes, each repeated exactly by its seed."""
