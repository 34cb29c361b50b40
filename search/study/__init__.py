"""What a study holds, typed: its trials, its records, its workspace, a snapshot of it."""
