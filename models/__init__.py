"""What a network is, and how one is trained."""
