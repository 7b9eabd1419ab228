"""What each command does; `cli` reads the command line and calls one of these."""
