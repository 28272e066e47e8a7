"""Worker processes with limits, in which strangers' files are decoded."""
