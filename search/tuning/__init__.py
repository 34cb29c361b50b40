"""Running a search: the tuner, the session it runs in, the audit. The only writers to a study."""
