"""What a run shows and leaves behind: progress, metrics files and the report page."""
