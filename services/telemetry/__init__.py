"""What a process of ours says of itself: its log and its traces, set up once at its start."""
