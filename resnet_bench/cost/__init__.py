"""What a study's networks cost: their size, counted, and their speed, measured."""
