"""What a run is, and what a study is."""
