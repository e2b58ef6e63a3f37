"""Everything a study writes: rows, tables, and the dictionary of their columns."""
