"""Tests: flat, one file a module, named test_<package>_<module>.py."""
