"""The worker, its watchdog, the backends, and the machine's resources."""
