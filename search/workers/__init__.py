"""What trains, and where: the worker, its watchdog, the backends, the machine's resources."""
