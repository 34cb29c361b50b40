"""Where workers run: processes of this machine today, a cluster when one is not enough."""
