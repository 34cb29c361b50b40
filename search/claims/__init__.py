"""The report's claims, tested with trials and paired trainings."""
