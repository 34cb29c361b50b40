"""What outlives the process: the study, our own tables, and the files under `var/`."""
