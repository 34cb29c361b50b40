"""The report's claims, and what the trials and paired trainings say of them."""
