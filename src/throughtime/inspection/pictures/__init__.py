"""Pictures of what a network does, drawn by matplotlib for papers; one file for each kind."""
