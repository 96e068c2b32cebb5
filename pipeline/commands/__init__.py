"""What each command other than `run` does; `cli` has its options and prints what it gives."""
