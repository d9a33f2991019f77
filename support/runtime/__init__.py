"""The process: quiet start, flags, errors in words, devices, several processes, whole files."""
