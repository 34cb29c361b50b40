"""What people see in the terminal: progress, tables, plain text."""
