"""The outside world and the wiring: one small file each, named port first. Third parties are imported here only."""
